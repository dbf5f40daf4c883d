#include "bench/report.h"

#include <algorithm>
#include <cmath>

#include "bench/rows.h"
#include "cli/page.h"
#include "cli/text.h"
#include "tenon/machine.h"

namespace bench {
namespace {

using cli::escape_html;

constexpr const char* kStyle =
    "<style>td.rate { background-repeat: no-repeat; background-position: left bottom; } "
    "td small { color: #5b6675; display: block; } td.wrong { color: #b00020; } h3 { margin: 24px 0 8px; }</style>\n";

/// The rows of one problem, in a table of one dtype and thread count.
struct Line {
    std::string problem;
    std::vector<const Row*> rows;
};

std::vector<Line> lines_of(const Results& results, int threads, Type type) {
    std::vector<Line> lines;
    for (const Row& row : results.rows) {
        if (row.threads != threads || row.problem.type != type) continue;
        const std::string name = row.problem.name();
        if (lines.empty() || lines.back().problem != name) lines.push_back({name, {}});
        lines.back().rows.push_back(&row);
    }
    return lines;
}

/// The rate, its share of the peak and of the roofline; the bar is the latter.
std::string cell(const Row& row, bool fastest, const std::string& colour) {
    if (!row.error.empty()) return "<td class='wrong' title='" + escape_html(row.error) + "'>not timed</td>";
    const double length = std::isfinite(row.of_roofline()) ? std::clamp(100 * row.of_roofline(), 0.0, 100.0) : 0;
    return std::string("<td class='rate") + (fastest ? " best" : "") + "' title='" + time_text(row.seconds) + ", " +
           std::to_string(row.samples) + " samples, spread " + cli::percent(row.spread()) +
           "' style='background-image:linear-gradient(" + colour + "33," + colour +
           "33);background-size:" + cli::fixed(length, 1) + "% 100%'>" + cli::fixed(row.gflops(), 1) + "<small>" +
           cli::fixed(100 * row.of_peak(), 1) + " / " + cli::fixed(100 * row.of_roofline(), 1) + " %</small></td>";
}

std::string table_line(const Results& results, const Line& line, const std::vector<std::string>& columns) {
    double fastest = 0, tenon = 0, fastest_peer = 0;
    for (const Row* row : line.rows) {
        fastest = std::max(fastest, row->rate);
        (row->library == "tenon" ? tenon : fastest_peer) =
            std::max(row->library == "tenon" ? tenon : fastest_peer, row->rate);
    }
    std::string out = "<tr><td>" + escape_html(line.problem) + "</td>";
    for (const std::string& library : columns) {
        const auto found =
            std::find_if(line.rows.begin(), line.rows.end(), [&](const Row* row) { return row->library == library; });
        out += found == line.rows.end()
                   ? "<td></td>"
                   : cell(**found, (*found)->rate == fastest, cli::colour(index_of(results, library)));
    }
    const bool both = tenon > 0 && fastest_peer > 0;
    return out + "<td>" + (both ? cli::fixed(tenon / fastest_peer, 2) : "") + "</td></tr>\n";
}

std::string table(const Results& results, int threads, Type type) {
    const std::vector<Line> lines = lines_of(results, threads, type);
    const auto has_row = [&](const std::string& library) {
        return std::any_of(results.rows.begin(), results.rows.end(), [&](const Row& row) {
            return row.threads == threads && row.problem.type == type && row.library == library;
        });
    };
    std::vector<std::string> columns;
    for (const auto& each : results.libraries)
        if (has_row(each.first)) columns.push_back(each.first);
    if (lines.empty()) return "";
    std::string out = std::string("<h3>") + traits(type).name + "</h3>\n<table><thead><tr><th>m x n x k</th>";
    for (const std::string& library : columns)
        out += "<th><span class='chip' style='background:" + cli::colour(index_of(results, library)) + "'></span>" +
               escape_html(library) + "</th>";
    out += "<th>tenon to the<br>fastest peer</th></tr></thead><tbody>\n";
    for (const Line& line : lines) out += table_line(results, line, columns);
    return out + "</tbody></table>\n";
}

}  // namespace

std::size_t index_of(const Results& results, const std::string& library) {
    std::size_t i = 0;
    while (i < results.libraries.size() && results.libraries[i].first != library) ++i;
    return i;
}

std::string about(const Results& results) {
    const tenon::Machine machine = tenon::machine();
    std::string out = "<h2>Machine and method</h2>\n<div class='card'><dl>\n";
    const auto entry = [&](const std::string& name, const std::string& value) {
        out += "<dt>" + escape_html(name) + "</dt><dd>" + escape_html(value) + "</dd>\n";
    };
    entry("CPU", machine.cpu);
    entry("instruction set", machine.instruction_set);
    for (const tenon::Ceilings& ceilings : results.ceilings) {
        const std::string text = ceilings_text(ceilings);
        const std::size_t colon = text.find(": ");
        entry(text.substr(0, colon), text.substr(colon + 2));
    }
    for (const auto& [library, version] : results.libraries) entry(library, version);
    entry("operands", results.cold ? "cold: others each call, together beyond the last-level cache"
                                   : "warm: the same again and again");
    entry("threads", "not pinned");
    return out + "</dl></div>\n<p style='margin-top:16px'><code>" + escape_html(results.command) + "</code></p>\n";
}

std::string report_html(const Results& results) {
    std::string body = kStyle;
    body +=
        "<p class='quiet'>GFLOP/s (for integers 10<sup>9</sup> operations a second), medians of samples taken in turn; "
        "below them percent of the measured peak and of the roofline, which is also the bar. Time and spread show "
        "where "
        "the pointer rests.</p>\n";
    for (const tenon::Ceilings& ceilings : results.ceilings) {
        body +=
            "<h2>" + std::to_string(ceilings.threads) + (ceilings.threads == 1 ? " thread" : " threads") + "</h2>\n";
        for (int type = 0; type < kTypes; ++type) body += table(results, ceilings.threads, static_cast<Type>(type));
    }
    return cli::page("Products: " + results.suite, body + about(results));
}

}  // namespace bench
