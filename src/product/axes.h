// The axes of a contraction, sorted by role. Both kernels, the law and the blocked one, start here.
#pragma once

#include <array>
#include <cstdint>

#include "product/contract.h"

namespace tenon::product {

/// One label: its extent, and its stride in each view (elements; 0 where the view lacks it).
struct Axis {
    std::int64_t extent = 1;
    std::int64_t a = 0, b = 0, out = 0;
    std::int8_t position = 0, position_a = 0, position_b = 0;  // in the output, a and b, where it is one of their axes
};

struct AxisList {
    std::array<Axis, 2 * kMaxRank> axes;
    int size = 0;

    void push_back(const Axis& axis) { axes[static_cast<std::size_t>(size++)] = axis; }
    Axis* begin() { return axes.data(); }
    Axis* end() { return axes.data() + size; }
    const Axis* begin() const { return axes.data(); }
    const Axis* end() const { return axes.data() + size; }
    std::int64_t count() const {
        std::int64_t n = 1;
        for (const Axis& axis : *this) n *= axis.extent;
        return n;
    }
};

/// out[batch, rows, columns] = sum over `summed` of a[batch, rows, summed] b[batch, summed, columns]. The order of
/// `summed` is that of the law, slowest first.
struct AxisRoles {
    AxisList batch, rows, columns, summed;
};

/// Checks labels, extents and dtypes; throws ShapeError or TypeError naming the views.
AxisRoles assign_roles(const View& a, const View& b, const View& out, const Labels& labels);

}  // namespace tenon::product
