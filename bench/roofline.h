// Products under the roofline (Williams, Waterman and Patterson, CACM 52, 2009), drawn.
#pragma once

#include <string>
#include <vector>

#include "bench/problem.h"
#include "tenon/machine.h"

namespace bench {

/// A product at a rate, measured or estimated.
struct Point {
    Problem problem;
    double rate;  // operations a second
    std::size_t series;  // which decides the colour; the dtype decides the mark
    std::string text;  // shown where the pointer rests
};

/// A figure for HTML: slopes of the bandwidths, peaks of the dtypes that occur, the points, and a legend of the series
/// and marks.
std::string roofline_figure(const tenon::Ceilings& ceilings, const std::vector<Point>& points,
                            const std::vector<std::string>& series);

}  // namespace bench
