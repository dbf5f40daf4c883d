#include "schedule/options.h"

#include <string_view>

#include "base/environment.h"
#include "base/text.h"
#include "tenon/error.h"

namespace tenon::schedule {
namespace {

thread_local const Options* scoped = nullptr;

Options from_environment() {
    Options o;
    if (const char* graphs = environment("TENON_CUDA_GRAPHS")) {
        if (std::string_view(graphs) != "on" && std::string_view(graphs) != "off")
            throw ValueError(text("TENON_CUDA_GRAPHS=", graphs, ": neither on nor off"));
        o.graphs = std::string_view(graphs) == "on";
    }
    const char* given = environment("TENON_FUSE");
    if (!given) return o;
    o.grouped = std::string_view(given) == "all";
    if (o.grouped) return o;
    o.pointwise = o.rows = o.epilogue = o.chain = o.prologue = false;
    if (std::string_view(given) == "off") o.compile = false;
    if (std::string_view(given) == "off" || std::string_view(given) == "none") return o;
    for (std::string_view rest = given; !rest.empty();) {
        const std::string_view word = rest.substr(0, rest.find(','));
        rest.remove_prefix(word.size() < rest.size() ? word.size() + 1 : rest.size());
        if (word == "pointwise")
            o.pointwise = true;
        else if (word == "rows")
            o.rows = true;
        else if (word == "epilogue")
            o.epilogue = true;
        else if (word == "chain")
            o.chain = true;
        else if (word == "prologue")
            o.prologue = true;
        else if (word == "grouped")
            o.grouped = true;
        else
            throw ValueError(
                text("TENON_FUSE=", given, ": \"", word,
                     "\" is none of off, none, all, pointwise, rows, epilogue, chain, prologue and grouped"));
    }
    return o;
}

}  // namespace

const Options& options() {
    if (scoped) return *scoped;
    static const Options of_environment = from_environment();
    return of_environment;
}

WithOptions::WithOptions(const Options& o) : now_(o), before_(scoped) { scoped = &now_; }
WithOptions::~WithOptions() { scoped = before_; }

std::uint64_t word(const Options& o) {
    std::uint64_t bits = 0;
    for (const bool b : {o.simplify, o.pointwise, o.rows, o.epilogue, o.chain, o.prologue, o.grouped, o.recompute,
                         o.column_sums, o.repeats, o.in_place, o.reuse, o.ignore_cost, o.faulty})
        bits = bits << 1 | b;
    return bits ^ static_cast<std::uint64_t>(o.guarded_bytes) << 16;
}

}  // namespace tenon::schedule
