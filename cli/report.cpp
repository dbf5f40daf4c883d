#include "report.h"

#include <tenon/machine.h>
#include <tenon/threads.h>
#include <tenon/version.h>

#include "chart.h"
#include "files.h"
#include "page.h"
#include "text.h"

namespace cli {
namespace {

std::string name_of(const RunOptions& o) {
    std::string name = o.structure + ", width " + std::to_string(o.width);
    if (o.rank) name += ", rank " + std::to_string(*o.rank);
    if (o.blocks) name += ", " + std::to_string(*o.blocks) + " blocks";
    return name;
}

std::string plural(std::int64_t n, const char* noun) { return std::to_string(n) + ' ' + noun + (n == 1 ? "" : "s"); }

std::string chip(std::size_t run) { return "<span class='chip' style='background:" + colour(run) + "'></span>"; }

std::string cell(const std::string& content, bool best = false) {
    return std::string(best ? "<td class='best'>" : "<td>") + content + "</td>";
}

std::string comparison(const std::vector<Summary>& runs) {
    double best = 0;
    for (const Summary& run : runs) best = std::max(best, run.epochs.back().test_accuracy);
    std::string out =
        "<table><thead><tr><th>Network</th><th>Parameters</th><th>Multiply-adds<br>an image</th><th>To the first</th>"
        "<th>Test accuracy</th><th>Test loss</th><th>Images a second<br>in "
        "training</th><th>Seconds</th></tr></thead><tbody>\n";
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const Summary& run = runs[i];
        const Epoch& last = run.epochs.back();
        const double share = static_cast<double>(run.multiply_adds) / static_cast<double>(runs[0].multiply_adds);
        const auto rate = static_cast<std::int64_t>(run.images_per_second);
        out += "<tr>" + cell(chip(i) + escape_html(name_of(run.options))) + cell(thousands(run.parameters)) +
               cell(thousands(run.multiply_adds)) + cell(fixed(share, 3)) +
               cell(percent(last.test_accuracy), runs.size() > 1 && last.test_accuracy == best) +
               cell(fixed(last.test_loss, 4)) + cell(rate > 0 ? thousands(rate) : "-") + cell(fixed(run.seconds, 1)) +
               "</tr>\n";
    }
    return out + "</tbody></table>\n";
}

template <class F>
void add_line(Chart& chart, const std::vector<Summary>& runs, std::size_t i, const char* set, bool dashed, F value) {
    Line line{runs.size() > 1 ? name_of(runs[i].options) + ": " + set : set, colour(i), dashed, {}};
    for (const Epoch& epoch : runs[i].epochs) line.y.push_back(value(epoch));
    chart.lines.push_back(std::move(line));
}

std::string curves(const std::vector<Summary>& runs) {
    Chart loss{"Loss", "epoch", "cross-entropy", false, {}}, accuracy{"Accuracy", "epoch", "accuracy", true, {}};
    for (std::size_t i = 0; i < runs.size(); ++i) {
        add_line(loss, runs, i, "test", false, [](const Epoch& e) { return e.test_loss; });
        add_line(loss, runs, i, "training", true, [](const Epoch& e) { return e.train_loss; });
        add_line(accuracy, runs, i, "test", false, [](const Epoch& e) { return e.test_accuracy; });
        add_line(accuracy, runs, i, "training", true, [](const Epoch& e) { return e.train_accuracy; });
    }
    return "<div class='pair'>" + svg(loss) + svg(accuracy) +
           "</div>\n<p class='quiet'>Training figures are means over an epoch while the network learns; test figures "
           "are those "
           "of its end.</p>\n";
}

std::string operations(const Summary& run, std::size_t index) {
    constexpr std::size_t kShown = 10;
    double total = 0, rest = 0;
    for (const auto& op : run.operations) total += op.seconds;
    std::string out =
        "<div class='card'><h3>" + chip(index) + escape_html(name_of(run.options)) + "</h3><div class='ops'>\n";
    const double longest = run.operations.empty() ? 1 : run.operations.front().seconds;
    const auto value = [&](const std::string& content) { out += "<span class='value'>" + content + "</span>"; };
    const auto bar = [&](const std::string& name, double seconds, const std::string& rate) {
        out += "<span>" + escape_html(name) + "</span><span class='bar' style='background:" + colour(index) +
               ";width:" + fixed(100 * seconds / longest, 1) + "%'></span>";
        value(fixed(seconds, 2) + " s"), value(fixed(100 * seconds / total, 1) + " %"), value(rate);
        out += '\n';
    };
    for (std::size_t i = 0; i < run.operations.size(); ++i) {
        const auto& op = run.operations[i];
        if (i >= kShown)
            rest += op.seconds;
        else
            bar(op.name, op.seconds, op.name == "contract" ? si(op.flops / op.seconds, "FLOP/s") : "");
    }
    if (rest > 0) bar("all others", rest, "");
    return out + "</div></div>\n";
}

std::string all_operations(const std::vector<Summary>& runs) {
    std::string out = "<h2>Time by operation</h2>\n<div class='pair'>";
    for (std::size_t i = 0; i < runs.size(); ++i) out += operations(runs[i], i);
    return out + "</div>\n<p class='quiet'>Training and tests together, as this process ran them.</p>\n";
}

std::string settings(const TrainOptions& options, const std::vector<Summary>& runs) {
    const tenon::Machine machine = tenon::machine();
    std::string out = "<h2>Options</h2>\n<div class='pair'>\n<div class='card'><h3>Training</h3><dl>\n";
    const auto entry = [&](const std::string& name, const std::string& value) {
        out += "<dt>" + escape_html(name) + "</dt><dd>" + escape_html(value) + "</dd>\n";
    };
    entry("data", options.data);
    // Only the options of the first run: the others differ in the network alone, which the table names.
    for (const auto& [name, value] : runs.front().options.as_text())
        if (name != "structure" && name != "width" && name != "rank" && name != "blocks") entry(name, value);
    out += "</dl></div>\n<div class='card'><h3>Machine</h3><dl>\n";
    entry("tenon", TENON_VERSION);
    entry("CPU", machine.cpu);
    entry("threads", std::to_string(tenon::num_threads()));
    entry("instruction set", machine.instruction_set);
    entry("arithmetic class", "portable");
    return out + "</dl></div>\n</div>\n<p style='margin-top:16px'><code>" + escape_html(options.command) +
           "</code></p>\n";
}

}  // namespace

std::string report_html(const TrainOptions& options, const std::vector<Summary>& runs) {
    const std::string title = "Training on " + options.data;
    return page(title, "<p class='quiet'>" + plural(runs.front().options.epochs, "epoch") + ", batches of " +
                           std::to_string(runs.front().options.batch) + " images, AdamW, seed " +
                           std::to_string(runs.front().options.seed) + "</p>\n<h2>Result</h2>\n" + comparison(runs) +
                           "<h2>Curves</h2>\n" + curves(runs) + all_operations(runs) + settings(options, runs));
}

void write_report(const TrainOptions& options, const std::vector<Summary>& runs) {
    replace_file("--report", options.report, report_html(options, runs));
}

}  // namespace cli
