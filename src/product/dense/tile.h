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

/// Which of n shares of a triangle, numbered from the least work on, is taken as number i: the larger half from the
/// largest on, then the others from the smallest on. Threads that take them in turn then have equal work.
inline std::int64_t share_of_triangle(std::int64_t i, std::int64_t n) {
    const std::int64_t larger = n - n / 2;
    return i < larger ? n - 1 - i : i - larger;
}

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
    const bool lower = plan.part == Part::lower, upper = plan.part == Part::upper;
    std::int64_t across = next(plan.column_tasks), down = next(plan.row_tasks);
    if (lower) down = share_of_triangle(down, plan.row_tasks);
    if (lower) across = plan.column_tasks - 1 - share_of_triangle(across, plan.column_tasks);
    if (upper) across = share_of_triangle(across, plan.column_tasks);
    if (upper) down = plan.row_tasks - 1 - share_of_triangle(down, plan.row_tasks);
    const Range panels = part(plan.panels(), plan.column_tasks, across);
    Range rows = part(plan.p.m, plan.row_tasks, down);
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

/// Sums waiting in scratch: rows `ld` apart, and columns of a chunk from `column` on, up to whole panels.
template <class Acc>
struct Partial {
    Acc* sums;
    std::int64_t ld;
    std::int64_t column = 0;

    Acc* at(std::int64_t row, std::int64_t j) const { return sums + row * ld + (j - column); }
    /// From another row on.
    Partial from(std::int64_t row) const { return {sums + row * ld, ld, column}; }
};

}  // namespace tenon::product::dense
