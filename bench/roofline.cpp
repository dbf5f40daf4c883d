#include "bench/roofline.h"

#include <algorithm>
#include <cmath>

#include "bench/report.h"
#include "cli/page.h"
#include "cli/text.h"

namespace bench {
namespace {

constexpr double kWidth = 1100, kHeight = 620, kLeft = 76, kRight = 150, kTop = 16, kBottom = 52;

/// A logarithmic axis: `low` is drawn at `from`, `high` at `to`.
struct Axis {
    double low, high, from, to;

    double place(double value) const { return from + std::log(value / low) / std::log(high / low) * (to - from); }
};

double intensity(const Problem& problem) { return problem.operations() / static_cast<double>(problem.bytes()); }

std::string number(double x) { return cli::fixed(x, 1); }

std::string line(double x1, double y1, double x2, double y2, const std::string& attributes) {
    return "<line x1='" + number(x1) + "' y1='" + number(y1) + "' x2='" + number(x2) + "' y2='" + number(y2) + "' " +
           attributes + "/>\n";
}

std::string label(double x, double y, const std::string& text, const std::string& attributes) {
    return "<text x='" + number(x) + "' y='" + number(y) + "' " + attributes + ">" + cli::escape_html(text) +
           "</text>\n";
}

/// Whole powers of `base` around the values.
Axis axis(double low, double high, double base, double from, double to) {
    const double first = std::floor(std::log(low) / std::log(base)), last = std::ceil(std::log(high) / std::log(base));
    return {std::pow(base, first), std::pow(base, std::max(last, first + 1)), from, to};
}

struct Plane {
    Axis x, y;
};

Plane plane_of(const std::vector<Point>& points, const tenon::Ceilings& ceilings) {
    double low_x = 0.5, high_x = 64, low_y = 1e9, high_y = 1e9;
    for (int t = 0; t < kTypes; ++t) {
        const double peak = ceilings.peak(traits(static_cast<Type>(t)).b);
        if (std::isfinite(peak)) high_y = std::max(high_y, peak);
    }
    for (const Point& point : points) {
        const double x = intensity(point.problem);
        low_x = std::min(low_x, x), high_x = std::max(high_x, x);
        low_y = std::min(low_y, point.rate);
    }
    return {axis(low_x, high_x, 2, kLeft, kWidth - kRight), axis(low_y, 1.2 * high_y, 10, kHeight - kBottom, kTop)};
}

std::string grid(const Plane& p) {
    std::string out;
    for (double x = p.x.low; x <= p.x.high * 1.001; x *= 2) {
        const double at = p.x.place(x);
        out += line(at, p.y.from, at, p.y.to, "class='grid'");
        out += label(at, p.y.from + 18, x < 1 ? "1/" + cli::fixed(1 / x, 0) : cli::fixed(x, 0), "text-anchor='middle'");
    }
    for (double y = p.y.low; y <= p.y.high * 1.001; y *= 10) {
        const double at = p.y.place(y);
        out += line(p.x.from, at, p.x.to, at, "class='grid'");
        const int digits = std::max(0, static_cast<int>(std::lround(9 - std::log10(y))));
        out += label(p.x.from - 8, at + 4, cli::fixed(y * 1e-9, digits), "text-anchor='end'");
    }
    const double middle = (p.y.from + p.y.to) / 2;
    out += label((p.x.from + p.x.to) / 2, kHeight - 10, "operations a byte, each operand moved once",
                 "text-anchor='middle' class='name'");
    return out + label(16, middle, "GFLOP/s",
                       "text-anchor='middle' class='name' transform='rotate(-90 16 " + number(middle) + ")'");
}

/// The slope of a level's bandwidth, up to the highest peak. Those of L2 and L3 are often close: one is named below.
std::string slope(const Plane& p, double bandwidth, double peak, tenon::MemoryLevel level) {
    const std::string text = std::string(name(level)) + ", " + cli::si(bandwidth, "B/s");
    const double from = std::max(p.x.low, p.y.low / bandwidth), to = std::min(p.x.high, peak / bandwidth);
    if (!(from < to)) return "";
    const double x = p.x.place(from), y = p.y.place(from * bandwidth);
    return line(x, y, p.x.place(to), p.y.place(to * bandwidth), "stroke='#444444' stroke-width='1.5'") +
           label(x + 6, level == tenon::MemoryLevel::l3 ? y + 14 : y - 8, text, "class='name'");
}

std::string ceilings_lines(const Plane& p, const tenon::Ceilings& c, const std::vector<Point>& points) {
    std::string out;
    double highest = 0;
    for (int t = 0; t < kTypes; ++t) {
        const double peak = c.peak(traits(static_cast<Type>(t)).b);
        const bool used = std::any_of(points.begin(), points.end(),
                                      [&](const Point& point) { return point.problem.type == static_cast<Type>(t); });
        if (!used || !std::isfinite(peak)) continue;
        highest = std::max(highest, peak);
        out += line(p.x.from, p.y.place(peak), p.x.to, p.y.place(peak), "stroke='#444444' stroke-dasharray='6 4'");
        out += label(p.x.to + 6, p.y.place(peak) + 4,
                     std::string(traits(static_cast<Type>(t)).name) + ": " + cli::si(peak, "FLOP/s"), "class='name'");
    }
    for (int level = 0; level < tenon::kMemoryLevels; ++level)
        out += slope(p, c.read[static_cast<std::size_t>(level)], highest, static_cast<tenon::MemoryLevel>(level));
    return out;
}

/// A mark a dtype: circle, square, diamond, triangle.
std::string mark(Type type, double x, double y, const std::string& colour, const std::string& title) {
    const auto path = [&](std::initializer_list<std::pair<double, double>> corners) {
        std::string points;
        for (const auto& [dx, dy] : corners) points += number(x + dx) + ',' + number(y + dy) + ' ';
        return "<polygon points='" + points + "' fill='" + colour + "' fill-opacity='.8'>";
    };
    std::string shape = "<circle cx='" + number(x) + "' cy='" + number(y) + "' r='4.5' fill='" + colour +
                        "' fill-opacity='.8'>",
                end = "</circle>\n";
    if (type != Type::f32) end = "</polygon>\n";
    if (type == Type::bf16) shape = path({{-4, -4}, {4, -4}, {4, 4}, {-4, 4}});
    if (type == Type::u8s8) shape = path({{0, -6}, {6, 0}, {0, 6}, {-6, 0}});
    if (type == Type::f64) shape = path({{0, -6}, {5.5, 4.5}, {-5.5, 4.5}});
    return shape + "<title>" + cli::escape_html(title) + "</title>" + end;
}

std::string marks(const Plane& p, const std::vector<Point>& points) {
    std::string out;
    for (const Point& point : points)
        out += mark(point.problem.type, p.x.place(intensity(point.problem)), p.y.place(point.rate),
                    cli::colour(point.series), point.text);
    return out;
}

std::string legend(const std::vector<std::string>& series) {
    std::string out = "<div class='legend'>";
    const auto entry = [&](const std::string& drawing, const std::string& text) {
        out += "<span><svg width='28' height='14' aria-hidden='true'>" + drawing + "</svg>" + cli::escape_html(text) +
               "</span>";
    };
    for (std::size_t i = 0; i < series.size(); ++i)
        entry("<rect x='8' y='2' width='10' height='10' fill='" + cli::colour(i) + "'/>", series[i]);
    for (int t = 0; t < kTypes; ++t)
        entry(mark(static_cast<Type>(t), 14, 7, "#98a2ae", ""), traits(static_cast<Type>(t)).name);
    return out + "</div>";
}

std::vector<Point> points_of(const Results& results, int threads) {
    std::vector<Point> points;
    for (const Row& row : results.rows) {
        if (row.threads != threads || !row.error.empty()) continue;
        points.push_back({row.problem, row.rate, index_of(results, row.library),
                          row.library + ", " + row.problem.name() + ' ' + traits(row.problem.type).name + ": " +
                              cli::fixed(row.gflops(), 2) + " GFLOP/s, " + cli::percent(row.of_roofline()) +
                              " of the roofline"});
    }
    return points;
}

}  // namespace

std::string roofline_figure(const tenon::Ceilings& ceilings, const std::vector<Point>& points,
                            const std::vector<std::string>& series) {
    const Plane p = plane_of(points, ceilings);
    const std::string title = std::to_string(ceilings.threads) + (ceilings.threads == 1 ? " thread" : " threads");
    return "<figure style='margin-top:20px'><figcaption>" + title + "</figcaption><svg viewBox='0 0 " + number(kWidth) +
           ' ' + number(kHeight) + "' role='img'>\n" + grid(p) + ceilings_lines(p, ceilings, points) +
           marks(p, points) + "</svg>" + legend(series) + "</figure>\n";
}

std::string roofline_html(const Results& results) {
    std::string body =
        "<p class='quiet'>Slopes are measured bandwidths of reading, dashed lines measured peaks of each dtype; a "
        "point is "
        "a product of one library. What it is shows where the pointer rests.</p>\n";
    std::vector<std::string> libraries;
    for (const auto& each : results.libraries) libraries.push_back(each.first);
    for (const tenon::Ceilings& ceilings : results.ceilings)
        body += roofline_figure(ceilings, points_of(results, ceilings.threads), libraries);
    return cli::page("Roofline: " + results.suite, body + about(results));
}

}  // namespace bench
