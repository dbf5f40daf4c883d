// The correction of sums of products of 8-bit integers for zero points and shifts. A kernel sums (a + shift_a) (b +
// shift_b); what is wanted is the sum of (a - zero_a) (b - zero_b). With offset = shift + zero for each side, the
// difference is - offset_a sum(b + shift_b) - offset_b (sum(a + shift_a) - k offset_a). All sums are modulo 2^32.
#pragma once

#include "product/dense/plan.h"
#include "product/dense/sum_lines.h"
#include "product/dense/tile.h"

namespace tenon::product::dense {

/// For some columns of B: sums[j] is the sum of b + shift_b over column j. `lines` has the offset of each column in
/// `b`; packed columns have stored theirs.
template <class In>
void sums_of_columns(const Plan<In, std::uint32_t>& plan, const void* b, const std::int64_t* lines, Range columns,
                     std::int32_t* sums) {
    if (!plan.packed) sum_lines(b, plan.p.b_type, lines, columns.size(), plan.p.roles.summed, &Axis::b, sums);
    const std::int32_t* stored = plan.packed ? plan.packed->column_sums + columns.begin : sums;
    const auto shift = static_cast<std::uint32_t>(plan.p.k * plan.shift_b);
    for (std::int64_t j = 0; j < columns.size(); ++j)
        sums[j] = static_cast<std::int32_t>(static_cast<std::uint32_t>(stored[j]) + shift);
}

/// One row: `stored` is the sum of its elements of A; sums[j] and column_sums[j] belong to column columns.begin + j.
template <class In>
void subtract_offsets(const Plan<In, std::uint32_t>& plan, std::int64_t row, Range columns, std::uint32_t stored,
                      const std::int32_t* column_sums, std::uint32_t* sums) {
    const auto a = static_cast<std::uint32_t>(plan.offset_a(row)), k = static_cast<std::uint32_t>(plan.p.k);
    if (a != 0) byte_sums().subtract(sums, column_sums, a, columns.size());
    if (!plan.offsets_b) return;
    const std::uint32_t sum = stored + k * (static_cast<std::uint32_t>(plan.shift_a) - a);
    for (std::int64_t j = 0; j < columns.size(); ++j)
        sums[j] -= sum * static_cast<std::uint32_t>(plan.offset_b(columns.begin + j));
}

/// Some rows; the first row's sums begin at sums[0], and the rows' elements are in `a`.
template <class In>
void subtract_offsets(const Plan<In, std::uint32_t>& plan, const void* a, Range rows, Range columns,
                      const std::int32_t* column_sums, std::uint32_t* sums, std::int64_t ld) {
    constexpr std::int64_t kRows = 64;
    std::int64_t lines[kRows];
    std::int32_t stored[kRows] = {};
    for (std::int64_t begin = rows.begin; begin < rows.end; begin += kRows) {
        const std::int64_t n = std::min(kRows, rows.end - begin);
        if (plan.offsets_b) {
            fill_offsets(plan.p.roles.rows, &Axis::a, begin, n, lines);
            sum_lines(a, plan.p.a_type, lines, n, plan.p.roles.summed, &Axis::a, stored);
        }
        for (std::int64_t i = 0; i < n; ++i)
            subtract_offsets(plan, begin + i, columns, static_cast<std::uint32_t>(stored[i]), column_sums,
                             sums + (begin + i - rows.begin) * ld);
    }
}

}  // namespace tenon::product::dense
