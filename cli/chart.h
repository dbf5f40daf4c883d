// Line charts as inline SVG.
#pragma once

#include <string>
#include <vector>

namespace cli {

struct Line {
    std::string name, colour;
    bool dashed = false;
    /// The y values at x = 1, 2, ...; those that are not finite are left out.
    std::vector<double> y;
};

struct Chart {
    std::string title, x_label, y_label;
    /// Shows y values as percentages.
    bool percent = false;
    std::vector<Line> lines;
};

std::string svg(const Chart& chart);

}  // namespace cli
