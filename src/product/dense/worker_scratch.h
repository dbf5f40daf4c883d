// The scratch memory of a worker (worker.h), in elements, lines or groups of k, for a plan whose tasks are chosen.
#pragma once

#include <algorithm>
#include <bit>
#include <numeric>

#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/staging.h"

namespace tenon::product::dense {

/// Columns of B, packed or in place: row k of the panel is at data + k * pitch.
template <class In>
struct Panel {
    const In* data;
    std::int64_t pitch, ahead;
};

/// Rows of A, packed or in place.
template <class In>
struct RowPanel {
    const In* data;
    std::int64_t pitch;  // bytes
    Range rows;
};

/// Whether rows of A, `step` bytes apart, are read in place: a line of each, and the lines of B that pass meanwhile,
/// fit the sets of the nearest cache that rows so far apart share.
inline bool fit_sets(std::int64_t rows, std::int64_t step) {
    constexpr std::int64_t kSets = 64, kRowsInSet = 7;
    return rows <= kSets / std::gcd(step / 64, kSets) * kRowsInSet;
}

/// The most panels of rows that share one pass over the panels of columns, each of which is then read once for all of
/// them. With more, the kernels would leave the output's rows, which the hardware prefetcher follows, at each step.
template <class In, class Acc>
std::int64_t most_together(const Plan<In, Acc>& plan) {
    return 4 * plan.kernels->standard.mr / plan.family.mr;
}

/// At most one waiting segment for each bit of their number.
template <class In, class Acc>
std::int64_t sums_waiting(const Plan<In, Acc>& plan) {
    return std::max<std::int64_t>(1, std::bit_width(static_cast<std::uint64_t>(plan.segments)));
}

/// Panels of rows that share a panel of packed columns (packed_panels.h). If several blocks of k pass, as many as half
/// of L2 holds, with the sums that wait: columns that come from beyond L2 are then brought less often. On two threads
/// of a Zen 5 products of 512 and 1024 rows take 0.98 to 0.99 of the time that 54 rows take, 128 x 768 x 3072 0.97, and
/// no longer on one. Beside a chunk in L2, three eighths: 0.98 to 0.99 on one thread, 0.99 to 1.01 on two. One block
/// (float64) takes 1.0 to 1.02.
template <class In, class Acc>
std::int64_t packed_together(const Plan<In, Acc>& plan) {
    const std::int64_t most = most_together(plan),
                       depth = ceil_div(std::min(plan.p.k, plan.blocks * plan.block), plan.kernels->group),
                       bytes = depth * std::int64_t{sizeof(In)} +
                               (plan.in_output ? 0 : plan.chunk * std::int64_t{sizeof(Acc)});
    return plan.blocks > 1 ? std::max(most, caches().l2 / 8 * (plan.packed ? 4 : 3) / (bytes * plan.family.mr)) : most;
}

/// Rows of a strip's sums that are stored together: a tape takes long to begin (64 rows at a time take 1.04 of the time
/// in 8-bit integers), but the rows of its output and of a residual fall on few sets of the caches (512 take 1.03 in
/// bfloat16; Zen 5, 512 x 768 x 3072).
template <class In, class Acc>
std::int64_t stored_rows(const Plan<In, Acc>& plan) {
    constexpr std::int64_t kRows = 256;
    return plan.epilogue ? std::max<std::int64_t>(kRows, plan.family.mr) : plan.family.mr;
}

/// Columns of strips whose sums are stored together: whole strips of a tape, and more of them if rows are few. A tape
/// takes a microsecond to begin. Only if a quarter of L2 holds their sums for all rows, and B is not packed before
/// (where it took up to 1.07 of the time on a Zen 5); otherwise those of one strip.
template <class In, class Acc>
std::int64_t stored_columns(const Plan<In, Acc>& plan) {
    constexpr std::int64_t kElements = 1 << 15;
    const std::int64_t rows = ceil_div(plan.p.m, plan.row_tasks), wanted = std::max(kElements / rows, kTapeColumns),
                       columns = ceil_div(wanted, plan.strip) * plan.strip;
    return plan.epilogue && !plan.packed && rows * columns * std::int64_t{sizeof(Acc)} <= caches().l2 / 4
               ? std::min(columns, plan.chunk)
               : plan.strip;
}

template <class In, class Acc>
std::int64_t partial_size(const Plan<In, Acc>& plan) {
    const std::int64_t mr = plan.family.mr, rows = ceil_div(plan.p.m, plan.row_tasks);
    if (plan.blocks > 0) return (plan.p.k <= plan.blocks * plan.block ? packed_together(plan) * mr : rows) * plan.chunk;
    if (plan.one_block())
        return !plan.rows_stay()                   ? most_together(plan) * mr * plan.chunk
               : stored_columns(plan) > plan.strip ? rows * stored_columns(plan)
                                                   : std::min(rows, stored_rows(plan)) * plan.strip;
    return sums_waiting(plan) * std::max(rows, most_together(plan) * mr) * plan.chunk;
}

/// Elements of A, or of B, that are staged at once, and the most lines or k of them.
template <class In, class Acc>
std::int64_t staged(const Plan<In, Acc>& plan, bool a) {
    return a ? most_together(plan) * plan.family.mr * plan.block
             : std::max(kPackRows * plan.kernels->group * plan.chunk, plan.family.nr * plan.block);
}

template <class In, class Acc>
std::int64_t longest(const Plan<In, Acc>& plan) {
    return std::max({plan.chunk, plan.block, most_together(plan) * plan.family.mr});
}

/// Rows of A, and columns of B, that are packed at once.
template <class In, class Acc>
std::int64_t packed_rows(const Plan<In, Acc>& plan) {
    const std::int64_t mr = plan.family.mr;
    return (plan.rows_stay() ? ceil_div(ceil_div(plan.p.m, plan.row_tasks), mr) : most_together(plan)) * mr;
}

template <class In, class Acc>
std::int64_t packed_columns(const Plan<In, Acc>& plan) {
    if (plan.panels_b == Panels::passing) return plan.packing ? plan.strip : 0;
    if (plan.packs_blocks()) return plan.chunk * std::min(plan.blocks, ceil_div(plan.p.k, plan.block));
    return plan.panels_b == Panels::strips ? plan.strip : plan.panels_b == Panels::chunks ? plan.chunk : 0;
}

/// Length of k: a block or, for columns along k, a segment; in groups, padded to whole vectors.
template <class In, class Acc>
std::int64_t k_at_once(const Plan<In, Acc>& plan) {
    return plan.reads_along() ? std::min(plan.segment, plan.p.k) : plan.block;
}

template <class In, class Acc>
std::int64_t groups_along(const Plan<In, Acc>& plan) {
    return ceil_div(ceil_div(k_at_once(plan), plan.kernels->group), 16) * 16;
}

/// The pitch of rows that are lanes.
template <class In, class Acc>
std::int64_t transposed_pitch(const Plan<In, Acc>& plan) {
    return ceil_div(plan.p.m, plan.kernels->lanes) * plan.kernels->lanes;
}

template <class In, class Acc>
std::int64_t packed_a_size(const Plan<In, Acc>& plan) {
    if (plan.transposed) return groups_along(plan) * transposed_pitch(plan);
    if (plan.takes_adjacent()) return 0;
    if (plan.copied_rows > 0) return plan.block * plan.copied_rows;
    return plan.dot ? groups_along(plan) * kDotRows : ceil_div(plan.block, plan.kernels->group) * packed_rows(plan);
}

template <class In, class Acc>
std::size_t scratch_bytes(const Plan<In, Acc>& plan) {
    const auto size = [](std::int64_t n, std::size_t element) {
        return Scratch::aligned(static_cast<std::size_t>(n) * element);
    };
    const std::int64_t mr = plan.family.mr, pitch = ceil_div(plan.block, plan.kernels->group);
    return (plan.sweep ? size(kDotRows * plan.chunk, sizeof(Acc)) : 0) +
           size(pitch * packed_columns(plan), sizeof(In)) + size(packed_a_size(plan), sizeof(In)) +
           size(packed_rows(plan) / mr, sizeof(RowPanel<In>)) + size(plan.chunk / plan.family.nr, sizeof(Panel<In>)) +
           2 * (size(k_at_once(plan), 8) + size(plan.chunk, 8)) + size(most_together(plan) * mr, 8) +
           size(plan.chunk, sizeof(Acc)) + size(mr * plan.family.nr, sizeof(Acc)) + size(plan.chunk, 8) +
           size(plan.chunk, 4) +
           (plan.prologue_a ? Staging::bytes(staged(plan, true), plan.p.a_type, longest(plan)) : 0) +
           (plan.prologue_b ? Staging::bytes(staged(plan, false), plan.p.b_type, longest(plan)) : 0) +
           (plan.in_output || plan.split_k ? 0 : size(partial_size(plan), sizeof(Acc)));
}

}  // namespace tenon::product::dense
