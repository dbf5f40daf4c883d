// The lines of the operands that the following kernels will need, for the current kernels to prefetch.
#pragma once

#include <algorithm>

#include "base/caches.h"
#include "product/dense/column_panels.h"
#include "product/dense/in_hand.h"
#include "product/dense/next_block.h"

namespace tenon::product::dense {

template <class In, class Acc>
class WantedLines {
  public:
    WantedLines(const InHand<In, Acc>& hand, const ColumnPanels<In, Acc>& columns)
        : hand_(hand), plan_(hand.plan), panels_(columns) {}

    /// During the kernels of some panels of a tile's rows, which end at row `last`: the block's lines of the same
    /// number of panels after them.
    Ahead after_rows(Range tile, std::int64_t last, std::int64_t together) const {
        const std::int64_t rows = together * plan_.family.mr;
        Ahead lines = of_rows({last, std::min(last + rows, tile.end)});
        if ((plan_.waits_for_rows() || asks_across()) && last >= tile.end)
            lines = of_rows_in_next_block({tile.begin, std::min(tile.begin + rows, tile.end)});
        lines.spread =
            plan_.waits_for_rows() || spread(lines, together * ceil_div(hand_.columns.size(), plan_.family.nr));
        return plan_.near ? Ahead{} : lines;
    }

    /// During the kernels of a strip of columns with this many panels of rows: the next strip or, where panels pass,
    /// the first strip of the next block of k.
    Ahead after_strip(Range strip, std::int64_t row_panels) const {
        const std::int64_t columns = hand_.columns.size();
        Ahead lines = of_columns({strip.end, std::min(strip.end + plan_.strip, columns)});
        if (plan_.panels_b == Panels::passing && strip.end >= columns) lines = of_first_panel_in_next_block();
        lines.spread = spread(lines, row_panels * ceil_div(strip.size(), plan_.family.nr));
        return lines;
    }

    /// After the packed panel at column j of the chunk: the next panel.
    Ahead after_panel(std::int64_t j) const {
        const std::int64_t nr = plan_.family.nr, lines = hand_.groups * nr * std::int64_t{sizeof(In)} / 64;
        return {reinterpret_cast<const char*>(panels_.at(j).data + hand_.groups * nr), 64, 0, lines, lines, lines};
    }

  private:
    /// Groups of k from which adjacent rows are prefetched.
    static constexpr std::int64_t kLeastGroupsAcross = 128;

    /// Whether rows are adjacent in memory and are transposed as they are packed, from a slow last level: the hardware
    /// prefetcher does not follow so many lines that far apart. Short sums have no time for it (8192x256x64 takes 1.02
    /// times as long; Emerald Rapids).
    bool asks_across() const {
        return hand_.groups >= kLeastGroupsAcross && plan_.a_runs_across() && !hand_.k_unit && caches().large_l2();
    }
    /// Whether this many kernels have enough steps to prefetch a line only every few of them.
    bool spread(const Ahead& lines, std::int64_t kernels) const {
        return kSpreadSteps * lines.left <= kernels * hand_.groups;
    }

    /// The block's lines of some rows of A: rows are contiguous along k or, if they are transposed as they are packed,
    /// adjacent.
    Ahead of_rows(Range rows) const {
        const AxisRoles& r = plan_.p.roles;
        if (rows.size() <= 0 || r.rows.size != 1) return {};
        const DType type = hand_.stored_a();
        const auto size = static_cast<std::int64_t>(size_of(type));
        if (asks_across()) return lines_of_block(hand_.a, size, rows, 1, hand_.block, r.summed.axes[0].a);
        if (!hand_.k_unit) return {};
        const std::int64_t step = r.rows.axes[0].a;
        return lines_of(advance(hand_.a, rows.begin * step + hand_.k_a[0], type), rows.size(),
                        hand_.block.size() * size, step * size);
    }
    Ahead of_rows_in_next_block(Range rows) const {
        const AxisRoles& r = plan_.p.roles;
        const Range k = hand_.next_block();
        if (k.size() <= 0 || r.rows.size != 1 || r.summed.size != 1) return {};
        return lines_of_block(hand_.a, static_cast<std::int64_t>(size_of(hand_.stored_a())), rows, r.rows.axes[0].a, k,
                              r.summed.axes[0].a);
    }

    /// The block's lines of some columns of the chunk: along each row of B or each column, whichever is contiguous.
    Ahead of_columns(Range columns) const {
        if (columns.size() <= 0) return {};
        if (plan_.widen) {
            const std::int64_t lines = ceil_div(columns.size() * hand_.groups / 2 * std::int64_t{sizeof(In)}, 64);
            const std::uint32_t* const first = panels_.packed_pairs().at(hand_.columns.begin + columns.begin);
            return {reinterpret_cast<const char*>(first), 64, 0, lines, lines, lines};
        }
        const DType type = plan_.p.b_type;
        const std::int64_t *at = hand_.columns_b + columns.begin, k = hand_.block.size();
        const auto size = static_cast<std::int64_t>(size_of(type));
        const void* first = advance(hand_.b, hand_.k_b[0] + at[0], type);
        if (is_affine(at, columns.size(), 1)) return lines_of(first, k, columns.size() * size, hand_.k_pitch * size);
        if (!is_affine(hand_.k_b, k, 1)) return {};
        return lines_of(first, columns.size(), k * size, columns.size() > 1 ? (at[1] - at[0]) * size : 0);
    }
    Ahead of_first_panel_in_next_block() const {
        const std::int64_t rows = hand_.next_block().size(), size = sizeof(In);
        if (rows <= 0) return {};
        const std::int64_t at = hand_.k_b[0] + hand_.block.size() * hand_.k_pitch + hand_.columns_b[0];
        return lines_of(advance(hand_.b, at, plan_.p.b_type), rows,
                        std::min<std::int64_t>(plan_.family.nr, hand_.columns.size()) * size, hand_.k_pitch * size);
    }

    const InHand<In, Acc>& hand_;
    const Plan<In, Acc>& plan_;
    const ColumnPanels<In, Acc>& panels_;
};

}  // namespace tenon::product::dense
