// Prefetches lines of both operands for the next block of k while the kernels compute this one.
#pragma once

#include <algorithm>

#include "base/caches.h"
#include "product/dense/plan.h"
#include "product/dense/tile.h"
#include "product/dense/units.h"

namespace tenon::product::dense {

/// The cache lines of some lines (rows of A or columns of B) times k of an operand; `line` and `k` are its strides in
/// elements. Empty if neither stride is 1.
inline PrefetchLines lines_of_block(const void* operand, std::int64_t size, Range lines, std::int64_t line, Range k,
                                    std::int64_t step) {
    const auto* first = static_cast<const std::byte*>(operand) + (lines.begin * line + k.begin * step) * size;
    if (line == 1) return lines_of(first, k.size(), lines.size() * size, step * size);
    if (step == 1) return lines_of(first, lines.size(), k.size() * size, line * size);
    return {};
}

/// The same for a block of one or two summed axes. Of two that one stride does not walk, the inner one has to be
/// contiguous and one line follow the other: the block is then whole runs, each of all lines.
inline PrefetchLines lines_of_block(const void* operand, std::int64_t size, Range lines, std::int64_t line,
                                    const AxisList& summed, std::int64_t Axis::*stride, Range k) {
    const Axis& inner = summed.end()[-1];
    const std::int64_t step = inner.*stride;
    if (summed.size == 1 || summed.axes[0].*stride == inner.extent * step)
        return lines_of_block(operand, size, lines, line, k, step);
    if (step != 1 || line != inner.extent || k.begin % inner.extent != 0 || k.size() % inner.extent != 0) return {};
    const std::int64_t outer = summed.axes[0].*stride;
    const auto* first =
        static_cast<const std::byte*>(operand) + (lines.begin * line + k.begin / inner.extent * outer) * size;
    return lines_of(first, k.size() / inner.extent, lines.size() * line * size, outer * size);
}

/// Bytes of both operands' blocks that stay in the nearest caches until they are used.
inline std::int64_t next_block_bytes() { return caches().l2 / 2; }

/// With few rows and columns, the lines of a block are used for little arithmetic, and the next data needed is the next
/// block of k. If two multiply-adds start in a cycle, they have to be requested early: 64 x 64 x 60000 takes 0.7 to
/// 0.97 of the time on a Zen 5.
class NextBlock {
  public:
    /// For operands in memory at `a` and `b` of the current batch (which passes if its lines come otherwise), a
    /// tile's rows and columns, and a next block that is `steps` kernel steps away.
    template <class In, class Acc>
    void find(const Plan<In, Acc>& plan, const void* a, const void* b, bool passes, Range rows, Range columns,
              Range block, std::int64_t steps) {
        count_ = 0;
        const AxisRoles& r = plan.p.roles;
        if (block.size() <= 0 || plan.packed || plan.prologue_a || plan.prologue_b || !units().two_fma_units) return;
        if (r.rows.size != 1 || r.columns.size != 1 || r.summed.size < 1 || r.summed.size > 2) return;
        const auto size_a = static_cast<std::int64_t>(size_of(plan.p.a_type)),
                   size_b = static_cast<std::int64_t>(size_of(plan.p.b_type));
        if ((rows.size() * size_a + (passes ? 0 : columns.size() * size_b)) * block.size() > next_block_bytes()) return;
        const PrefetchLines of_b = lines_of_block(b, size_b, columns, r.columns.axes[0].b, r.summed, &Axis::b, block);
        PrefetchLines all[] = {lines_of_block(a, size_a, rows, r.rows.axes[0].a, r.summed, &Axis::a, block),
                               passes ? PrefetchLines{} : of_b};
        // Two lines at each step if there are more than steps: 32 x 32 x 65536 from memory takes 0.64 of the time.
        const bool two = r.summed.size == 2 && all[0].left > 0 && all[0].left + of_b.left > steps &&
                         plan.family.nr == plan.kernels->standard.nr && all[0].run % 2 == 0 && of_b.run % 2 == 0;
        if (two) all[0] = two_at_once(all[0]), all[1] = two_at_once(of_b);
        if (all[0].left + all[1].left > steps) return;
        // Kronecker's gradients of 512 rows, two summed axes (Zen 5): of 4,096 columns 0.87 of the time, of 2,304 0.96;
        // of 1,024 and 512, 4 and 2 MB of operands, 1.01 and 1.02; 1.07 where A alone would be asked for.
        const std::int64_t both = plan.p.k * (plan.p.m * size_a + plan.p.n * size_b);
        if (r.summed.size == 2 && (both <= 4 * caches().l2 || (!two && all[0].left + of_b.left > steps))) return;
        for (const PrefetchLines& lines : all)
            if (lines.left > 0) {
                lines_[count_] = lines;
                lines_[count_++].spread = kSpreadSteps * (all[0].left + all[1].left) <= steps;
            }
    }
    /// Continues with further lines once the previous ones have been requested.
    void refill(PrefetchLines& next) {
        if (next.left <= 0 && count_ > 0) next = lines_[--count_];
    }

  private:
    /// Of runs of an even number of lines.
    static PrefetchLines two_at_once(PrefetchLines lines) {
        lines.step = 128, lines.run /= 2, lines.left_in_run /= 2, lines.left /= 2, lines.two = true;
        return lines;
    }
    PrefetchLines lines_[2];
    int count_ = 0;
};

}  // namespace tenon::product::dense
