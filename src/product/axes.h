// The axes of a contraction, sorted by role. The reference and the blocked kernels both start here.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "product/contract.h"

namespace tenon::product {

/// Operands of these types may differ in signedness, and are summed in int32.
inline bool is_byte(DType t) { return t == DType::int8 || t == DType::uint8; }

/// One label: its extent, and its stride in each view (elements; 0 where the view lacks it).
struct Axis {
    std::int64_t extent, a, b, out;
    std::int8_t position, position_a, position_b;  // index of the axis in the output, a and b, if they have it

    Axis() = default;
    Axis(std::int64_t n, std::int64_t in_a, std::int64_t in_b, std::int64_t in_out)
        : extent(n), a(in_a), b(in_b), out(in_out), position(0), position_a(0), position_b(0) {}
};

/// A list with room for the largest rank. Only the axes in use are written and copied.
struct AxisList {
    std::array<Axis, 2 * kMaxRank> axes;
    int size = 0;

    AxisList() {}  // NOLINT(modernize-use-equals-default): a defaulted constructor would clear the unused axes
    AxisList(const AxisList& other) : size(other.size) { copy(other); }
    AxisList& operator=(const AxisList& other) {
        size = other.size;
        copy(other);
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

  private:
    /// Nearly all lists have one axis: not by calls of memmove, of which a small product would make twenty.
    void copy(const AxisList& other) {
        if (size == 1)
            axes[0] = other.axes[0];
        else
            std::copy_n(other.axes.data(), size, axes.data());
    }
};

/// An operand's memory and type. Its layout is in the roles of the axes.
struct Elements {
    void* data;
    DType dtype;

    Elements(void* at, DType type) : data(at), dtype(type) {}
    Elements(const View& v) : data(v.data), dtype(v.dtype) {}  // NOLINT(google-explicit-constructor)
};

/// out[batch, rows, columns] = sum over `summed` of a[batch, rows, summed] b[batch, summed, columns]. `summed` is in
/// the order of the law, slowest first.
struct AxisRoles {
    AxisList batch, rows, columns, summed;
};

/// Sorted by stride in the output, largest first; axes with equal strides keep their order.
AxisList in_output_order(AxisList axes);

/// Checks labels, extents and dtypes; throws ShapeError or TypeError, which name the views.
AxisRoles assign_roles(const View& a, const View& b, const View& out, const Labels& labels);

}  // namespace tenon::product
