#include "product/overlap.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace tenon::product {
namespace {

struct Axis {
    std::int64_t extent, stride;
};
struct Axes {
    Axis axes[3];
};

Axes axes_of(const Matrix& m, std::int64_t batch) {
    return {{{m.rows, m.row_stride}, {m.columns, m.column_stride}, {batch, m.batch_stride}}};
}

std::int64_t size_of_element(const Matrix& m) { return static_cast<std::int64_t>(size_of(m.dtype)); }

/// From the first byte to past the last one.
struct Span {
    std::intptr_t begin, end;
};

Span span_of(const Matrix& m, std::int64_t batch) {
    std::int64_t low = 0, high = 1;
    for (const Axis& axis : axes_of(m, batch).axes) {
        const std::int64_t last = (axis.extent - 1) * axis.stride;
        low += std::min<std::int64_t>(last, 0);
        high += std::max<std::int64_t>(last, 0);
    }
    const auto at = reinterpret_cast<std::intptr_t>(m.data);
    return {at + low * size_of_element(m), at + high * size_of_element(m)};
}

/// Whether every byte of the span belongs to an element.
bool gapless(const Matrix& m, std::int64_t batch) {
    Axes a = axes_of(m, batch);
    for (Axis& axis : a.axes) axis.stride = std::abs(axis.stride);
    std::sort(std::begin(a.axes), std::end(a.axes), [](const Axis& x, const Axis& y) { return x.stride < y.stride; });
    std::int64_t elements = 1;
    for (const Axis& axis : a.axes) {
        if (axis.extent == 1 || axis.stride == 0) continue;
        if (axis.stride != elements) return false;
        elements *= axis.extent;
    }
    return true;
}

/// A matrix's axes in bytes, the longer stride first, counted upwards from the first byte.
struct Grid {
    Axis outer, inner;
};

Grid grid_of(const Matrix& m) {
    Grid g{{m.rows, std::abs(m.row_stride) * size_of_element(m)},
           {m.columns, std::abs(m.column_stride) * size_of_element(m)}};
    if (g.outer.stride < g.inner.stride) std::swap(g.outer, g.inner);
    return g;
}

/// Whether i outer + j inner = distance for differences i and j between indices of two grids with the same strides.
bool meet(const Grid& x, const Grid& y, std::int64_t distance) {
    if (x.outer.stride == 0) return distance == 0;
    const std::int64_t low = (1 - y.inner.extent) * x.inner.stride, high = (x.inner.extent - 1) * x.inner.stride;
    const std::int64_t first = std::max((distance - high) / x.outer.stride - 1, 1 - y.outer.extent),
                       last = std::min((distance - low) / x.outer.stride + 1, x.outer.extent - 1);
    for (std::int64_t i = first; i <= last; ++i) {
        const std::int64_t rest = distance - i * x.outer.stride;
        if (rest < low || rest > high) continue;
        if (rest == 0 || (x.inner.stride != 0 && rest % x.inner.stride == 0)) return true;
    }
    return false;
}

bool same_strides(const Grid& x, const Grid& y) {
    return x.outer.stride == y.outer.stride && x.inner.stride == y.inner.stride;
}

/// The bytes of a line along the inner axis if it has no gaps, otherwise 0.
std::int64_t bytes_of_line(const Grid& g, std::int64_t element) {
    if (g.inner.extent == 1 || g.inner.stride == 0) return element;
    return g.inner.stride == element ? g.inner.extent * element : 0;
}

/// Whether a line of x, which are `width` bytes wide, meets one of y, which are `height` wide and begin at `distance`.
bool lines_meet(const Axis& x, std::int64_t width, const Axis& y, std::int64_t height, std::int64_t distance) {
    for (std::int64_t i = 0, j = 0; i < x.extent && j < y.extent;) {
        const std::int64_t at = i * x.stride, other = distance + j * y.stride;
        if (at + width <= other)
            ++i;
        else if (other + height <= at)
            ++j;
        else
            return true;
    }
    return false;
}

bool decide(const Matrix& x, const Matrix& y, std::int64_t batch, std::int64_t distance) {
    if (gapless(x, batch) && gapless(y, batch)) return true;
    if (batch != 1) return false;
    const Grid g = grid_of(x), h = grid_of(y);
    if (size_of(x.dtype) == size_of(y.dtype) && same_strides(g, h)) return meet(g, h, distance);
    const std::int64_t width = bytes_of_line(g, size_of_element(x)), height = bytes_of_line(h, size_of_element(y));
    return width > 0 && height > 0 && lines_meet(g.outer, width, h.outer, height, distance);
}

/// Whether each stride is longer than everything that the shorter ones reach.
bool nested(const Matrix& m, std::int64_t batch) {
    Axes a = axes_of(m, batch);
    for (Axis& axis : a.axes) axis.stride = std::abs(axis.stride);
    std::sort(std::begin(a.axes), std::end(a.axes), [](const Axis& x, const Axis& y) { return x.stride < y.stride; });
    std::int64_t reached = 0;
    for (const Axis& axis : a.axes) {
        if (axis.extent == 1) continue;
        if (axis.stride <= reached) return false;
        reached += (axis.extent - 1) * axis.stride;
    }
    return true;
}

}  // namespace

bool batch_overlaps_itself(const Matrix& m, std::int64_t batch) {
    if (batch < 2 || m.rows <= 0 || m.columns <= 0 || nested(m, batch)) return false;
    const Grid g = grid_of(m);
    const std::int64_t step = std::abs(m.batch_stride) * size_of_element(m),
                       reached = (g.outer.extent - 1) * g.outer.stride + (g.inner.extent - 1) * g.inner.stride;
    // For two matrices only their distance matters.
    for (std::int64_t i = 1; i < batch && i * step <= reached; ++i)
        if (meet(g, g, i * step)) return true;
    return false;
}

bool share_memory(const Matrix& x, const Matrix& y, std::int64_t batch) {
    if (x.rows == 0 || x.columns == 0 || y.rows == 0 || y.columns == 0 || batch == 0) return false;
    const Span a = span_of(x, batch), b = span_of(y, batch);
    if (a.end <= b.begin || b.end <= a.begin) [[likely]]
        return false;
    return decide(x, y, batch, b.begin - a.begin);
}

bool may_share_memory(const Matrix& x, const Matrix& y, std::int64_t batch) {
    if (x.rows == 0 || x.columns == 0 || y.rows == 0 || y.columns == 0) return false;
    const auto matrices = [&](const Matrix& m) { return Axis{batch, std::abs(m.batch_stride) * size_of_element(m)}; };
    const auto bytes_of_one = [](const Matrix& m) { return span_of(m, 1).end - span_of(m, 1).begin; };
    return lines_meet(matrices(x), bytes_of_one(x), matrices(y), bytes_of_one(y),
                      span_of(y, batch).begin - span_of(x, batch).begin);
}

}  // namespace tenon::product
