#include "product/dense/lower.h"

#include <algorithm>
#include <utility>

namespace tenon::product::dense {
namespace {

bool continues(const Axis& outer, const Axis& inner) {
    return outer.a == inner.a * inner.extent && outer.b == inner.b * inner.extent &&
           outer.out == inner.out * inner.extent;
}

/// Merges adjacent axes that a single stride can walk into an empty list, and removes axes of extent 1.
void merge(const AxisList& axes, AxisList& merged) {
    for (const Axis& axis : axes) {
        if (axis.extent == 1) continue;
        if (merged.size > 0 && continues(merged.end()[-1], axis)) {
            const std::int64_t outer = merged.end()[-1].extent;
            merged.end()[-1] = axis;
            merged.end()[-1].extent *= outer;
        } else {
            merged.push_back(axis);
        }
    }
}

/// The same for axes that may be in any order: the output's, for locality. One axis, as nearly all have, is in order.
void merge_in_output_order(const AxisList& axes, AxisList& merged) {
    if (axes.size > 1)
        merge(in_output_order(axes), merged);
    else
        merge(axes, merged);
}

std::int64_t offset_of(const Axis* axes, int size, std::int64_t Axis::*stride, std::int64_t index) {
    if (size == 1) return index * (axes[0].*stride);
    std::int64_t value = 0;
    for (int i = size - 1; i >= 0; --i) {
        value += index % axes[i].extent * (axes[i].*stride);
        index /= axes[i].extent;
    }
    return value;
}

bool has_unit_stride(const AxisList& axes) { return axes.size > 0 && axes.end()[-1].out == 1; }

/// A's rows are adjacent in memory and B's columns are contiguous along k, as when a transposed matrix's gradient is
/// summed over many rows: exchanged, neither operand is transposed. The output is then written across its rows, but
/// only once, which does not matter with long k.
constexpr std::int64_t kMinTransposed = 32, kLongK = 8;
bool both_transposed(const Lowered& p) {
    const AxisRoles& r = p.roles;
    if (r.rows.size != 1 || r.columns.size != 1 || r.summed.size != 1) return false;
    return r.rows.axes[0].a == 1 && r.summed.axes[0].b == 1 && r.columns.axes[0].out == 1 &&
           std::min(p.m, p.n) >= kMinTransposed && p.k / kLongK >= std::max(p.m, p.n);
}

}  // namespace

Lowered lower(const AxisRoles& roles, Elements a, Elements b, Elements out, std::int64_t wide) {
    Lowered p;
    merge_in_output_order(roles.batch, p.roles.batch);
    merge_in_output_order(roles.rows, p.roles.rows);
    merge_in_output_order(roles.columns, p.roles.columns);
    merge(roles.summed, p.roles.summed);
    p.a = a.data, p.b = b.data, p.out = out.data;
    p.a_type = a.dtype, p.b_type = b.dtype, p.out_type = out.dtype;
    p.batches = p.roles.batch.count(), p.m = p.roles.rows.count(), p.n = p.roles.columns.count();
    p.k = p.roles.summed.count();

    const bool narrow = p.n < wide / 4 && p.m > p.n;
    const bool across =
        has_unit_stride(p.roles.rows) && !has_unit_stride(p.roles.columns) && (p.m >= wide / 4 || p.n < wide / 4);
    p.exchanged = wide > 0 && (narrow || across || both_transposed(p));
    if (p.exchanged) {
        std::swap(p.a, p.b);
        std::swap(p.a_type, p.b_type);
        std::swap(p.m, p.n);
        std::swap(p.roles.rows, p.roles.columns);
        for (AxisList* list : {&p.roles.batch, &p.roles.rows, &p.roles.columns, &p.roles.summed})
            for (Axis& axis : *list) std::swap(axis.a, axis.b);
    }
    return p;
}

std::int64_t offset_of(const AxisList& axes, std::int64_t Axis::*stride, std::int64_t index) {
    return offset_of(axes.axes.data(), axes.size, stride, index);
}

void fill_offsets(const AxisList& axes, std::int64_t Axis::*stride, std::int64_t first, std::int64_t count,
                  std::int64_t* offsets) {
    if (axes.size == 0) {
        for (std::int64_t i = 0; i < count; ++i) offsets[i] = 0;
        return;
    }
    const Axis& inner = axes.end()[-1];
    const std::int64_t step = inner.*stride;
    for (std::int64_t i = 0; i < count;) {
        const std::int64_t start = (first + i) % inner.extent, run = std::min(count - i, inner.extent - start);
        const std::int64_t outer = offset_of(axes.axes.data(), axes.size - 1, stride, (first + i) / inner.extent);
        // Sums, which any instruction set has for vectors: some 400 offsets a block were 2 % of products of 64 columns.
        std::int64_t at = outer + start * step;
        for (std::int64_t j = 0; j < run; ++j, at += step) offsets[i + j] = at;
        i += run;
    }
}

}  // namespace tenon::product::dense
