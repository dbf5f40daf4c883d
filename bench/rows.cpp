#include "bench/rows.h"

#include <algorithm>
#include <cmath>

#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"

namespace bench {
namespace {

const std::vector<cli::Column>& columns() {
    static const std::vector<cli::Column> all = {
        {"problem", 24, true}, {"dtype", 5, true}, {"threads", 7},   {"library", 11, true}, {"median", 9},
        {"spread", 7},         {"GFLOP/s", 8},     {"% of peak", 9}, {"% of roofline", 13}, {"of the fastest", 14}};
    return all;
}

std::string share(double fraction) { return cli::fixed(100 * fraction, 1); }

}  // namespace

std::string time_text(double seconds) {
    if (seconds < 1e-6) return cli::fixed(seconds * 1e9, 1) + " ns";
    if (seconds < 1e-3) return cli::fixed(seconds * 1e6, 2) + " us";
    if (seconds < 1) return cli::fixed(seconds * 1e3, 2) + " ms";
    return cli::fixed(seconds, 2) + " s";
}

std::string table_header() { return cli::header(columns()); }

std::string table_lines(const std::vector<Row>& rows) {
    double fastest = 0;
    for (const Row& row : rows) fastest = std::max(fastest, row.rate);
    std::string out;
    for (const Row& row : rows) {
        const std::vector<std::string> head = {row.problem.name(), traits(row.problem.type).name,
                                               std::to_string(row.threads), row.library};
        if (!row.error.empty()) {
            const std::vector<cli::Column> few(columns().begin(), columns().begin() + 4);
            out += cli::row(few, head) + "  NOT TIMED: " + row.error + '\n';
            continue;
        }
        std::vector<std::string> cells = head;
        cells.insert(cells.end(), {time_text(row.seconds), share(row.spread()) + " %", cli::fixed(row.gflops(), 2),
                                   share(row.of_peak()), share(row.of_roofline()), cli::fixed(row.rate / fastest, 2)});
        out += cli::row(columns(), cells) + '\n';
    }
    return out;
}

std::string json_object(const Row& row) {
    const bool timed = row.error.empty();
    const auto number = [&](double x) { return timed ? x : std::nan(""); };
    const Shape& shape = row.problem.shape;
    cli::JsonObject o;
    o.add("suite", row.problem.suite).add("problem", row.problem.name()).add("dtype", traits(row.problem.type).name);
    o.add("threads", row.threads).add("library", row.library).add("seconds_median", number(row.seconds));
    o.add("gflops", number(row.gflops())).add("percent_of_peak", number(100 * row.of_peak()));
    o.add("percent_of_roofline", number(100 * row.of_roofline())).add("version", row.version);
    o.add("m", shape.m).add("n", shape.n).add("k", shape.k).add("batch", shape.batch);
    o.add("packed", row.problem.weights.packed).add("weights_transposed", row.problem.weights.transposed);
    o.add("a_transposed", row.problem.a_transposed).add("cold", row.cold).add("samples", row.samples);
    o.add("calls_per_sample", row.calls).add("spread_percent", number(100 * row.spread()));
    if (!timed) o.add("error", row.error);
    return o.text();
}

std::string ceilings_text(const tenon::Ceilings& c) {
    std::string out = "ceilings, " + std::to_string(c.threads) + (c.threads == 1 ? " thread: " : " threads: ");
    for (int t = 0; t < kTypes; ++t) {
        const TypeTraits& type = traits(static_cast<Type>(t));
        if (std::isfinite(c.peak(type.b))) out += std::string(type.name) + ' ' + cli::si(c.peak(type.b), "FLOP/s, ");
    }
    for (int level = 0; level < tenon::kMemoryLevels; ++level) {
        out += name(static_cast<tenon::MemoryLevel>(level));
        out +=
            ' ' + cli::si(c.read[static_cast<std::size_t>(level)], level + 1 < tenon::kMemoryLevels ? "B/s, " : "B/s");
    }
    return out;
}

}  // namespace bench
