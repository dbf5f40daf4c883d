// The axes of a contraction, sorted by role. Both kernels, the law and the blocked one, start here.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "product/contract.h"

namespace tenon::product {

/// Operands of these may differ in sign, and are summed in int32.
inline bool is_byte(DType t) { return t == DType::int8 || t == DType::uint8; }

/// One label: its extent, and its stride in each view (elements; 0 where the view lacks it).
struct Axis {
    std::int64_t extent, a, b, out;
    std::int8_t position, position_a, position_b;  // in the output, a and b, where it is one of their axes

    Axis() = default;
    Axis(std::int64_t n, std::int64_t in_a, std::int64_t in_b, std::int64_t in_out)
        : extent(n), a(in_a), b(in_b), out(in_out), position(0), position_a(0), position_b(0) {}
};

/// A list with room for the largest rank, of which only the axes in use are written and copied.
struct AxisList {
    std::array<Axis, 2 * kMaxRank> axes;
    int size = 0;

    AxisList() {}  // NOLINT(modernize-use-equals-default): a defaulted one would clear the room
    AxisList(const AxisList& other) : size(other.size) { std::copy_n(other.axes.data(), size, axes.data()); }
    AxisList& operator=(const AxisList& other) {
        size = other.size;
        std::copy_n(other.axes.data(), size, axes.data());
        return *this;
    }

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

/// Sorted by the strides in the output, the longest first; axes of equal strides keep their order.
AxisList in_output_order(AxisList axes);

/// Checks labels, extents and dtypes; throws ShapeError or TypeError naming the views.
AxisRoles assign_roles(const View& a, const View& b, const View& out, const Labels& labels);

}  // namespace tenon::product
