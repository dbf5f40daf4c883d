// The lines of the operands that the following kernels will need, for the current kernels to prefetch.
#pragma once

#include <algorithm>

#include "base/caches.h"
#include "product/dense/column_panels.h"
#include "product/dense/current_block.h"
#include "product/dense/next_block.h"
#include "product/dense/units.h"

namespace tenon::product::dense {

template <class In, class Acc>
class PrefetchTargets {
  public:
    PrefetchTargets(const CurrentBlock<In, Acc>& current, const ColumnPanels<In, Acc>& columns)
        : current_(current), plan_(current.plan), panels_(columns) {}

    /// During the kernels of some panels of a tile's rows, which end at row `last`: the block's lines of the same
    /// number of panels after them. Where they wait for rows, after the last panels the first ones in the next block,
    /// or of the next tile.
    PrefetchLines after_rows(Range tile, std::int64_t last, std::int64_t together) const {
        const std::int64_t rows = together * plan_.family.mr;
        PrefetchLines lines = of_rows({last, std::min(last + rows, tile.end)});
        if ((plan_.waits_for_rows() || asks_across()) && last >= tile.end)
            lines = of_rows_in({tile.begin, std::min(tile.begin + rows, tile.end)}, current_.next_block());
        if (plan_.waits_for_rows() && current_.block.end >= plan_.p.k && last >= tile.end)
            lines = of_rows_in({tile.end, std::min(tile.end + rows, plan_.p.m)}, {0, std::min(plan_.block, plan_.p.k)});
        lines.spread =
            (plan_.waits_for_rows() && caches().large_l2()) ||
            (!asks_at_once() && spread(lines, together * ceil_div(current_.columns.size(), plan_.family.nr)));
        return plan_.in_cache ? PrefetchLines{} : lines;
    }

    /// During the kernels of a strip of columns with this many panels of rows: the next strip or, where panels pass,
    /// the first strip of the next block of k.
    PrefetchLines after_strip(Range strip, std::int64_t row_panels) const {
        const std::int64_t columns = current_.columns.size();
        PrefetchLines lines = of_columns({strip.end, std::min(strip.end + plan_.strip, columns)});
        if (plan_.panels_b == Panels::passing && strip.end >= columns) lines = of_first_panel_in_next_block();
        lines.spread = spread(lines, row_panels * ceil_div(strip.size(), plan_.family.nr));
        return lines;
    }

    /// During the kernels of some panels of rows with the packed panel at column j of the chunk: the next panel. A
    /// single kernel has as many steps as a panel of standard width has pairs of lines.
    PrefetchLines after_panel(std::int64_t j, std::int64_t together) const {
        const std::int64_t nr = plan_.family.nr, lines = current_.groups * nr * std::int64_t{sizeof(In)} / 64;
        const auto* const at = reinterpret_cast<const char*>(panels_.at(j).data + current_.groups * nr);
        if (together > 1 || lines % 2 != 0) return {at, 64, 0, lines, lines, lines};
        return {at, 128, 0, lines / 2, lines / 2, lines / 2, 64, false, true};
    }

  private:
    /// Groups of k from which adjacent rows are prefetched.
    static constexpr std::int64_t kMinGroupsAcross = 128;

    /// Whether rows are adjacent in memory and are transposed as they are packed, from beyond L2: the hardware
    /// prefetcher does not follow so many lines that far apart. Short sums have no time for it (8192x256x64 takes 1.02
    /// times as long; Emerald Rapids).
    bool asks_across() const {
        return current_.groups >= kMinGroupsAcross && plan_.a_runs_across() && !current_.k_unit &&
               units().two_fma_units;
    }
    /// Rows from beyond L2 are asked for as early as possible by a core whose last level keeps up with two
    /// multiply-adds in a cycle: with every fourth step, products of 512 to 4096 rows take 1.00 to 1.03 times as long
    /// (Zen 5).
    bool asks_at_once() const {
        const std::int64_t bytes = plan_.p.m * plan_.p.k / plan_.kernels->group * std::int64_t{sizeof(In)};
        return units().two_fma_units && !caches().large_l2() && 2 * bytes > caches().l2;
    }
    /// Whether this many kernels have enough steps to prefetch a line only every few of them.
    bool spread(const PrefetchLines& lines, std::int64_t kernels) const {
        return kSpreadSteps * lines.left <= kernels * current_.groups;
    }

    /// The block's lines of some rows of A: rows are contiguous along k or, if they are transposed as they are packed,
    /// adjacent.
    PrefetchLines of_rows(Range rows) const {
        const AxisRoles& r = plan_.p.roles;
        if (rows.size() <= 0 || r.rows.size != 1) return {};
        if (plan_.copied_rows > 0)
            return lines_of(current_.copied_row(rows.begin), 1,
                            rows.size() * current_.groups * std::int64_t{sizeof(In)}, 0);
        const DType type = current_.stored_a();
        const auto size = static_cast<std::int64_t>(size_of(type));
        if (asks_across()) return lines_of_block(current_.a, size, rows, 1, current_.block, r.summed.axes[0].a);
        if (!current_.k_unit) return {};
        const std::int64_t step = r.rows.axes[0].a;
        return lines_of(advance(current_.a, rows.begin * step + current_.first_a, type), rows.size(),
                        current_.block.size() * size, step * size);
    }
    PrefetchLines of_rows_in(Range rows, Range k) const {
        const AxisRoles& r = plan_.p.roles;
        if (rows.size() <= 0 || k.size() <= 0 || r.rows.size != 1 || r.summed.size != 1) return {};
        return lines_of_block(current_.a, static_cast<std::int64_t>(size_of(current_.stored_a())), rows,
                              r.rows.axes[0].a, k, r.summed.axes[0].a);
    }

    /// The block's lines of some columns of the chunk: along each row of B or each column, whichever is contiguous.
    PrefetchLines of_columns(Range columns) const {
        if (columns.size() <= 0) return {};
        if (plan_.widen) {
            const std::int64_t lines = ceil_div(columns.size() * current_.groups / 2 * std::int64_t{sizeof(In)}, 64);
            const std::uint32_t* const first = panels_.packed_pairs().at(current_.columns.begin + columns.begin);
            return {reinterpret_cast<const char*>(first), 64, 0, lines, lines, lines};
        }
        const DType type = plan_.p.b_type;
        const std::int64_t *at = current_.columns_b + columns.begin, k = current_.block.size();
        const auto size = static_cast<std::int64_t>(size_of(type));
        const void* first = advance(current_.b, current_.first_b + at[0], type);
        if (is_affine(at, columns.size(), 1)) return lines_of(first, k, columns.size() * size, current_.k_pitch * size);
        if (!is_affine(current_.k_b(), k, 1)) return {};
        return lines_of(first, columns.size(), k * size, columns.size() > 1 ? (at[1] - at[0]) * size : 0);
    }
    PrefetchLines of_first_panel_in_next_block() const {
        const std::int64_t rows = current_.next_block().size(), size = sizeof(In);
        if (rows <= 0) return {};
        const std::int64_t at = current_.first_b + current_.block.size() * current_.k_pitch + current_.columns_b[0];
        return lines_of(advance(current_.b, at, plan_.p.b_type), rows,
                        std::min<std::int64_t>(plan_.family.nr, current_.columns.size()) * size,
                        current_.k_pitch * size);
    }

    const CurrentBlock<In, Acc>& current_;
    const Plan<In, Acc>& plan_;
    const ColumnPanels<In, Acc>& panels_;
};

}  // namespace tenon::product::dense
