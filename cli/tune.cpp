#include "tune.h"

#include <CLI/CLI.hpp>

#include <cstdio>

#include "bench/operands.h"
#include "json.h"
#include "shapes.h"
#include "table.h"
#include "tenon/error.h"
#include "tenon/product.h"
#include "tenon/threads.h"
#include "text.h"

namespace cli {
namespace {

namespace product = tenon::product;

void declare(CLI::App& app, ProductArguments& arguments) {
    app.add_option(
           "--shapes", arguments.shapes,
           "m x n x k as in 512x768x3072, batches as in 64@32x32x32, with commas between; or @FILE, with one a line")
        ->required();
    app.add_option("--dtype", arguments.types, "Of f32, bf16, u8s8, f64, with commas between")->capture_default_str();
    app.add_option("--threads", arguments.threads, "As many as the process may use, if not given");
    app.add_flag("--wt", arguments.transposed, "The right operand is stored as (n, k), as a layer keeps it");
}

/// Calls f(problem, a, b, c, options) for each.
template <class F>
void for_each_product(const ProductArguments& arguments, F f) {
    if (arguments.threads < 0 || arguments.threads > tenon::kMaxThreads)
        throw tenon::ValueError("--threads " + std::to_string(arguments.threads) + ": not from 1 to " +
                                std::to_string(tenon::kMaxThreads));
    if (arguments.threads > 0) tenon::set_num_threads(arguments.threads);
    std::vector<bench::Problem> problems;
    for (const bench::Shape& shape : shapes_of(arguments.shapes))
        for (const std::string& type : split(arguments.types, ',')) {
            bench::Problem problem;
            problem.type = bench::type_named(type);
            problem.shape = shape;
            problem.weights.transposed = arguments.transposed;
            problems.push_back(problem);
        }
    for (const bench::Problem& p : problems) {
        const bench::Operands operands = bench::make_operands(p);
        const auto& [m, n, k, batch] = p.shape;
        const bench::TypeTraits& types = bench::traits(p.type);
        const product::Matrix a = product::row_major(operands.a.data(), types.a, m, k);
        const product::Matrix b = p.weights.transposed
                                      ? product::row_major(operands.b.data(), types.b, n, k).transpose()
                                      : product::row_major(operands.b.data(), types.b, k, n);
        product::GemmOptions options;
        options.batch = batch;
        f(p, a, b, product::row_major(operands.c.data(), types.c, m, n), options);
    }
}

void print_json(const bench::Problem& p, const std::vector<product::Timing>& timings, bool& first) {
    for (const product::Timing& t : timings) {
        JsonObject o;
        o.add("problem", p.name()).add("dtype", bench::traits(p.type).name).add("threads", tenon::num_threads());
        o.add("way", t.way).add("seconds_warm", t.warm).add("seconds_cold", t.cold).add("best", t.best);
        std::printf("%s%s", first ? "" : ",\n", o.text().c_str());
        first = false;
    }
}

void print_table(const bench::Problem& p, const std::vector<product::Timing>& timings) {
    const std::vector<Column> columns{{"", 1, true}, {"way", 34, true}, {"warm, us", 11}, {"cold, us", 11}};
    const int n = tenon::num_threads();
    const std::string threads = std::to_string(n) + (n == 1 ? " thread" : " threads");
    std::printf("%s %s, %s\n%s\n", p.name().c_str(), bench::traits(p.type).name, threads.c_str(),
                header(columns).c_str());
    for (const product::Timing& t : timings)
        std::printf("%s\n",
                    row(columns, {t.best ? ">" : "", t.way, fixed(t.warm * 1e6, 2), fixed(t.cold * 1e6, 2)}).c_str());
    std::printf("\n");
    std::fflush(stdout);
}

}  // namespace

void declare_tune(CLI::App& app, ProductArguments& arguments) {
    declare(app, arguments);
    app.add_flag("--json", arguments.json, "A list of JSON objects");
    app.add_flag("!--dry", arguments.keep, "Keep nothing for later");
    app.footer(
        "Kept in $TENON_TUNING, else in tenon/tuning.json of the user's cache directory, by machine and version.");
}

void declare_explain(CLI::App& app, ProductArguments& arguments) { declare(app, arguments); }

int tune(const ProductArguments& arguments) {
    if (arguments.keep) product::save_tuning();  // whether it can, before the work is done
    bool first = true;
    if (arguments.json) std::printf("[");
    for_each_product(arguments,
                     [&](const bench::Problem& p, const auto& a, const auto& b, const auto& c, const auto& o) {
                         const std::vector<product::Timing> timings = product::tune(a, b, c, o);
                         if (arguments.json)
                             print_json(p, timings, first);
                         else
                             print_table(p, timings);
                     });
    if (arguments.json) std::printf("]\n");
    if (!arguments.keep) return 0;
    const std::string path = product::save_tuning();
    if (!arguments.json) std::printf("kept in %s\n", path.c_str());
    return 0;
}

int explain(const ProductArguments& arguments) {
    for_each_product(arguments, [&](const bench::Problem&, const auto& a, const auto& b, const auto& c, const auto& o) {
        std::printf("%s\n", product::explain(a, b, c, o).c_str());
    });
    return 0;
}

}  // namespace cli
