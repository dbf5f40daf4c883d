#include "cuda/matrices.h"

#include <algorithm>
#include <cstdlib>

namespace tenon::cuda {
namespace {

using product::Axis;

bool follows(const Extent& outer, const Extent& inner) {
    return outer.a == inner.a * inner.n && outer.b == inner.b * inner.n && outer.out == inner.out * inner.n;
}

/// The axes, without those of extent 1, joined where they run together in all three views, with the longest strides
/// first.
std::vector<Extent> joined(const product::AxisList& axes, std::int64_t Extent::*by) {
    std::vector<Extent> all;
    for (const Axis& x : axes)
        if (x.extent != 1) all.push_back({x.extent, x.a, x.b, x.out});
    std::ranges::stable_sort(all, [by](const Extent& x, const Extent& y) { return std::abs(x.*by) > std::abs(y.*by); });
    for (std::size_t i = all.size(); i-- > 1;) {
        if (!follows(all[i - 1], all[i])) continue;
        const std::int64_t n = all[i - 1].n;
        all[i - 1] = all[i];
        all[i - 1].n *= n;
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return all;
}

/// Takes one of the axes as the matrix's, and adds the others to the batch. It is a contiguous axis where there is one,
/// else the longest.
Extent take(std::vector<Extent> axes, std::int64_t Extent::*side, std::vector<Extent>& batch) {
    if (axes.empty()) return {};
    auto best = std::ranges::max_element(axes, [&](const Extent& x, const Extent& y) {
        const bool x_side = std::abs(x.*side) == 1 || std::abs(x.out) == 1,
                   y_side = std::abs(y.*side) == 1 || std::abs(y.out) == 1;
        return x_side != y_side ? y_side : x.n < y.n;
    });
    const Extent taken = *best;
    axes.erase(best);
    batch.insert(batch.end(), axes.begin(), axes.end());
    return taken;
}

}  // namespace

Problem problem_of(const product::AxisRoles& roles, std::vector<Extent>& summed) {
    Problem p;
    p.batch = joined(roles.batch, &Extent::out);
    p.m = take(joined(roles.rows, &Extent::out), &Extent::a, p.batch);
    p.n = take(joined(roles.columns, &Extent::out), &Extent::b, p.batch);
    summed = joined(roles.summed, &Extent::a);
    if (summed.size() == 1) p.k = summed[0];
    return p;
}

bool is_matrix(std::int64_t rows, std::int64_t row_stride, std::int64_t columns, std::int64_t column_stride) {
    if (rows == 1 && columns == 1) return true;
    if (rows == 1) return column_stride >= 1;
    if (columns == 1) return row_stride >= 1;
    return (row_stride == 1 && column_stride >= rows) || (column_stride == 1 && row_stride >= columns);
}

LtMatrix matrix_of(std::int64_t rows, std::int64_t row_stride, std::int64_t columns, std::int64_t column_stride,
                   std::int64_t batch_stride, const std::byte* data) {
    const bool straight = rows == 1 ? column_stride != 1 || columns == 1 : row_stride == 1;
    if (straight) return {rows, columns, columns == 1 ? rows : std::max(column_stride, rows), 0, batch_stride, data};
    return {columns, rows, rows == 1 ? columns : std::max(row_stride, columns), 1, batch_stride, data};
}

std::optional<std::int64_t> stride_along(const product::AxisList& role, const Layout& layout) {
    std::int64_t stride = 0, outer = 0;
    bool first = true;
    for (const Axis& x : product::in_output_order(role)) {  // the longest stride first
        if (x.extent == 1) continue;
        stride = layout.strides[x.position];
        if (!first && outer != stride * x.extent) return std::nullopt;
        outer = stride, first = false;
    }
    return stride;
}

}  // namespace tenon::cuda
