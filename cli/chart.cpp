#include "chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text.h"

namespace cli {
namespace {

constexpr double kWidth = 560, kHeight = 320, kLeft = 64, kRight = 14, kTop = 14, kBottom = 46;

/// 1, 2 or 5 times a power of ten, so that about `count` of them fill the range.
double tick_step(double range, int count) {
    const double rough = range / count, power = std::pow(10.0, std::floor(std::log10(rough)));
    for (const double factor : {1.0, 2.0, 5.0})
        if (factor * power >= rough) return factor * power;
    return 10 * power;
}

struct Axis {
    double low, high, step, from, to;  // `low` is drawn at `from`, `high` at `to`

    double place(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

Axis y_axis(const std::vector<Line>& lines) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const Line& line : lines)
        for (const double y : line.y)
            if (std::isfinite(y)) low = std::min(low, y), high = std::max(high, y);
    if (!(low <= high)) low = 0, high = 1;
    if (high - low < 1e-9) low -= 0.05, high += 0.05;
    const double step = tick_step(high - low, 6);
    return {std::floor(low / step) * step, std::ceil(high / step) * step, step, kHeight - kBottom, kTop};
}

Axis x_axis(const std::vector<Line>& lines) {
    std::size_t most = 1;
    for (const Line& line : lines) most = std::max(most, line.y.size());
    const auto high = static_cast<double>(most);
    return {0, high, std::max(1.0, tick_step(high, 10)), kLeft, kWidth - kRight};
}

std::string number(double x) { return fixed(x, 1); }

std::string segment(double x1, double y1, double x2, double y2, const char* style) {
    return "<line x1='" + number(x1) + "' y1='" + number(y1) + "' x2='" + number(x2) + "' y2='" + number(y2) +
           "' class='" + style + "'/>";
}

std::string label(double x, double y, const std::string& text, const std::string& attributes) {
    return "<text x='" + number(x) + "' y='" + number(y) + "' " + attributes + ">" + escape_html(text) + "</text>";
}

std::string axes(const Chart& chart, const Axis& x, const Axis& y) {
    const double scale = chart.percent ? 100 : 1;
    const int digits = std::max(0, -static_cast<int>(std::floor(std::log10(y.step * scale) + 1e-9)));
    std::string out;
    for (int i = 0; i <= static_cast<int>(std::lround((y.high - y.low) / y.step)); ++i) {
        const double value = y.low + i * y.step, at = y.place(value);
        out += segment(x.from, at, x.to, at, i == 0 ? "axis" : "grid");
        out +=
            label(x.from - 8, at + 4, fixed(value * scale, digits) + (chart.percent ? " %" : ""), "text-anchor='end'");
    }
    for (int i = 0; x.low + i * x.step <= x.high; ++i) {
        const double value = x.low + i * x.step;
        out += segment(x.place(value), y.from, x.place(value), y.from + 4, "axis");
        out += label(x.place(value), y.from + 18, fixed(value, 0), "text-anchor='middle'");
    }
    out += label((x.from + x.to) / 2, kHeight - 8, chart.x_label, "text-anchor='middle' class='name'");
    const double middle = (y.from + y.to) / 2;
    return out + label(13, middle, chart.y_label,
                       "text-anchor='middle' class='name' transform='rotate(-90 13 " + number(middle) + ")'");
}

std::string curve(const Line& line, const Axis& x, const Axis& y) {
    std::string points, dots;
    for (std::size_t i = 0; i < line.y.size(); ++i) {
        if (!std::isfinite(line.y[i])) continue;
        const std::string px = number(x.place(static_cast<double>(i + 1))), py = number(y.place(line.y[i]));
        points += (points.empty() ? "" : " ") + px + "," + py;
        if (!line.dashed)
            dots += "<circle cx='" + px + "' cy='" + py + "' r='" + (line.y.size() > 40 ? "1.5" : "3") + "' fill='" +
                    line.colour + "'/>";
    }
    return "<polyline points='" + points + "' fill='none' stroke='" + line.colour +
           "' stroke-width='2' stroke-linejoin='round'" +
           (line.dashed ? " stroke-dasharray='5 4' stroke-opacity='.75'" : "") + "/>" + dots;
}

std::string legend(const std::vector<Line>& lines) {
    std::string out = "<div class='legend'>";
    for (const Line& line : lines)
        out += "<span><svg width='28' height='10' aria-hidden='true'><line x1='1' y1='5' x2='27' y2='5' stroke='" +
               line.colour + "' stroke-width='2'" + (line.dashed ? " stroke-dasharray='5 4'" : "") + "/>" +
               (line.dashed ? "" : "<circle cx='14' cy='5' r='3' fill='" + line.colour + "'/>") + "</svg>" +
               escape_html(line.name) + "</span>";
    return out + "</div>";
}

}  // namespace

std::string svg(const Chart& chart) {
    const Axis x = x_axis(chart.lines), y = y_axis(chart.lines);
    std::string out = "<figure><figcaption>" + escape_html(chart.title) + "</figcaption><svg viewBox='0 0 " +
                      number(kWidth) + " " + number(kHeight) + "' role='img' aria-label='" + escape_html(chart.title) +
                      "'>" + axes(chart, x, y);
    for (const Line& line : chart.lines) out += curve(line, x, y);
    return out + "</svg>" + legend(chart.lines) + "</figure>\n";
}

}  // namespace cli
