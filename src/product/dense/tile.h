// The tiles into which a thread's part of a blocked product is cut.
#pragma once

#include <algorithm>
#include <cstdint>

#include "product/dense/plan.h"

namespace tenon::product::dense {

/// A rectangle of one batch's output.
struct Tile {
    std::int64_t batch;
    Range rows, columns;
};

template <class In, class Acc>
Tile tile_at(const Plan<In, Acc>& plan, std::int64_t index) {
    std::int64_t batch = 0;
    const auto next = [&index](std::int64_t n) {
        const std::int64_t digit = index % n;
        index /= n;
        return digit;
    };
    if (plan.batch_inner) batch = next(plan.p.batches);
    const std::int64_t nr = plan.family.nr;
    // For a triangle, the tiles with most work come first.
    const bool lower = plan.part == Part::lower, upper = plan.part == Part::upper;
    const std::int64_t across = next(plan.column_tasks), share = next(plan.row_tasks);
    const Range panels = part(plan.panels(), plan.column_tasks, upper ? plan.column_tasks - 1 - across : across);
    Range rows = part(plan.p.m, plan.row_tasks, lower ? plan.row_tasks - 1 - share : share);
    if (!plan.batch_inner) batch = index;
    Range columns{panels.begin * nr, std::min(panels.end * nr, plan.p.n)};
    if (lower) columns.end = std::min(columns.end, rows.end), rows.begin = std::max(rows.begin, columns.begin);
    if (upper)
        columns.begin = std::max(columns.begin, rows.begin / nr * nr), rows.end = std::min(rows.end, columns.end);
    if (columns.size() <= 0) return {batch, {0, 0}, {0, 0}};
    return {batch, rows, columns};
}

/// `runs` runs of `bytes` bytes from `first`, `step` bytes apart.
inline PrefetchLines lines_of(const void* first, std::int64_t runs, std::int64_t bytes, std::int64_t step) {
    const std::int64_t lines = ceil_div(bytes, 64);
    return {static_cast<const char*>(first), 64, step - lines * 64, lines, lines, lines * runs};
}

/// Sums waiting in scratch: rows `ld` apart, as many as the tile has, and columns up to whole panels.
template <class Acc>
struct Partial {
    Acc* sums;
    std::int64_t ld;
};

}  // namespace tenon::product::dense
