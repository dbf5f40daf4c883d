#include "explain.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "bench/roofline.h"
#include "bench/rows.h"
#include "files.h"
#include "json.h"
#include "page.h"
#include "tenon/machine.h"
#include "tenon/threads.h"
#include "text.h"

namespace cli {
namespace {

namespace product = tenon::product;

/// The page's chart: all ways that accept a product, at their estimated rates.
struct Chart {
    std::vector<std::string> series;
    std::vector<bench::Point> points;

    void add(const bench::Problem& problem, const product::Way& way) {
        auto at = std::find(series.begin(), series.end(), way.name);
        if (at == series.end()) at = series.insert(at, way.name);
        const double rate = problem.operations() / way.seconds;
        points.push_back({problem, rate, static_cast<std::size_t>(at - series.begin()),
                          way.name + (way.runs ? " (runs), " : ", ") + problem.name() + ' ' +
                              bench::traits(problem.type).name + ": about " + bench::time_text(way.seconds) + ", " +
                              si(rate, "FLOP/s")});
    }
};

std::string page_of(const ExplainArguments& arguments, const Chart& chart, const tenon::Ceilings& ceilings) {
    const std::string body =
        "<p class='quiet'>Slopes are measured bandwidths of reading, dashed lines measured peaks of each dtype; a "
        "point "
        "is a way to compute a product, at its estimated rate. What it is shows where the pointer rests.</p>\n" +
        bench::roofline_figure(ceilings, chart.points, chart.series) + "<p style='margin-top:16px'>" +
        escape_html(tenon::machine().cpu + "; " + bench::ceilings_text(ceilings)) + "</p>\n<p><code>" +
        escape_html(arguments.command) + "</code></p>\n";
    return page("Roofline: estimates", body);
}

void print_json(const Product& p, const std::vector<product::Way>& ways, const tenon::Ceilings& ceilings, bool& first) {
    const bench::TypeTraits& type = bench::traits(p.problem.type);
    const double operations = p.problem.operations(), bytes = static_cast<double>(p.problem.bytes());
    const double roof = ceilings.roofline(type.b, operations, bytes, ceilings.level_of(bytes));
    for (const product::Way& way : ways) {
        JsonObject o;
        o.add("problem", p.problem.name()).add("dtype", type.name).add("threads", tenon::num_threads());
        o.add("way", way.name).add("runs", way.runs).add("tuned", way.tuned);
        way.declines.empty() ? o.raw("declines", "null") : o.add("declines", way.declines);
        o.add("seconds_estimated", way.seconds).add("operations", operations).add("bytes", bytes);
        o.add("operations_per_byte", operations / bytes).add("roofline_flops", roof);
        o.add("percent_of_roofline", 100 * operations / way.seconds / roof);
        std::printf("%s%s", first ? "[" : ",\n", o.text().c_str());
        first = false;
    }
}

}  // namespace

void declare(CLI::App& app, ExplainArguments& arguments) {
    declare(app, arguments.products);
    app.add_option("--roofline", arguments.roofline,
                   "Write the chart of all ways under the roofline, at their estimated rates, to this file, as HTML");
}

void explain(const ExplainArguments& arguments) {
    const bool json = arguments.products.json, draws = !arguments.roofline.empty();
    if (draws) check_file("--roofline", arguments.roofline);
    std::optional<tenon::Ceilings> ceilings;
    Chart chart;
    bool first = true;
    for_each_product(arguments.products, [&](const Product& p) {
        if (!ceilings && (json || draws))
            ceilings = tenon::measure_ceilings(tenon::num_threads(), tenon::machine().instruction_set);
        const std::vector<product::Way> ways = product::ways(p.a, p.b, p.c, p.options);
        if (json)
            print_json(p, ways, *ceilings, first);
        else
            std::printf("%s\n", product::explain(p.a, p.b, p.c, p.options).c_str());
        for (const product::Way& way : ways)
            if (draws && way.declines.empty()) chart.add(p.problem, way);
    });
    if (json) std::printf("]\n");
    if (draws) replace_file("--roofline", arguments.roofline, page_of(arguments, chart, *ceilings));
}

}  // namespace cli
