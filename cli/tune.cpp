#include "tune.h"

#include <CLI/CLI.hpp>

#include <cstdio>

#include "json.h"
#include "table.h"
#include "tenon/product.h"
#include "tenon/threads.h"
#include "text.h"

namespace cli {
namespace {

namespace product = tenon::product;

void print_json(const bench::Problem& p, const std::vector<product::Timing>& timings, bool& first) {
    for (const product::Timing& t : timings) {
        JsonObject o;
        o.add("problem", p.name()).add("dtype", bench::traits(p.type).name).add("threads", tenon::num_threads());
        o.add("way", t.way).add("seconds_warm", t.warm).add("seconds_cold", t.cold).add("best", t.best);
        o.add("seconds_estimated", t.estimated).add("usual", t.usual);
        std::printf("%s%s", first ? "" : ",\n", o.text().c_str());
        first = false;
    }
}

void print_table(const bench::Problem& p, const std::vector<product::Timing>& timings) {
    const std::vector<Column> columns{
        {"", 1, true}, {"way", 34, true}, {"warm, us", 11}, {"cold, us", 11}, {"estimated", 11}};
    const int n = tenon::num_threads();
    const std::string threads = std::to_string(n) + (n == 1 ? " thread" : " threads");
    std::printf("%s %s, %s\n%s\n", p.name().c_str(), bench::traits(p.type).name, threads.c_str(),
                header(columns).c_str());
    for (const product::Timing& t : timings)
        std::printf("%s\n", row(columns, {t.best ? ">" : "", t.way + (t.usual ? " (usual)" : ""),
                                          fixed(t.warm * 1e6, 2), fixed(t.cold * 1e6, 2), fixed(t.estimated * 1e6, 2)})
                                .c_str());
    std::printf("\n");
    std::fflush(stdout);
}

}  // namespace

void declare(CLI::App& app, TuneArguments& arguments) {
    declare(app, arguments.products);
    app.add_flag("--dry", arguments.dry, "Keep nothing for later");
    app.footer(
        "Kept in $TENON_TUNING, else in tenon/tuning.json of the user's cache directory, by machine and version.");
}

void tune(const TuneArguments& arguments) {
    const bool json = arguments.products.json;
    if (!arguments.dry) product::save_tuning();  // throws before the work is done if it cannot be saved
    bool first = true;
    for_each_product(arguments.products, [&](const Product& p) {
        if (first && !arguments.dry) product::tune_machine();
        const std::vector<product::Timing> timings = product::tune(p.a, p.b, p.c, p.options);
        if (json && first) std::printf("[");
        json ? print_json(p.problem, timings, first) : print_table(p.problem, timings);
        first = false;
    });
    if (json) std::printf("]\n");
    if (arguments.dry) return;
    const std::string path = product::save_tuning();
    if (!json) std::printf("kept in %s\n", path.c_str());
}

}  // namespace cli
