// One thread's part of a blocked product: the loops over columns, blocks of k, panels of rows and panels of columns.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "base/caches.h"
#include "product/dense/column_panels.h"
#include "product/dense/current_block.h"
#include "product/dense/epilogue_lines.h"
#include "product/dense/next_block.h"
#include "product/dense/packed_panels.h"
#include "product/dense/plan.h"
#include "product/dense/prefetch_targets.h"
#include "product/dense/scratch.h"
#include "product/dense/staging.h"
#include "product/dense/tile.h"
#include "product/dense/tile_kernels.h"
#include "product/dense/tile_output.h"
#include "product/dense/units.h"
#include "product/dense/worker_scratch.h"

namespace tenon::product::dense {

template <class In, class Acc>
class Worker {
  public:
    explicit Worker(const Plan<In, Acc>& plan)
        : plan_(plan),
          p_(plan.p),
          nr_(plan.family.nr),
          mr_(plan.family.mr),
          pitch_(ceil_div(plan.block, plan.kernels->group)),
          scratch_(scratch_bytes(plan)),
          output_(plan, scratch_),
          after_(output_),
          current_(plan, scratch_),
          columns_(current_, scratch_),
          kernels_(current_, columns_, output_, scratch_),
          wanted_(current_, columns_) {
        packed_a_ = scratch_.take<In>(packed_a_size(plan));
        rows_of_panels_ = scratch_.take<RowPanel<In>>(packed_rows(plan) / mr_);
        rows_a_ = scratch_.take<std::int64_t>(most_together(plan) * mr_);
        if (plan.prologue_a) staged_a_ = Staging(scratch_, staged(plan, true), p_.a_type, longest(plan));
        if (!plan.in_output && !plan.split_k) partial_ = scratch_.take<Acc>(partial_size(plan));
    }

    /// All segments of a tile, into the output.
    void run(const Tile& tile) {
        if (plan_.copied_rows > 0) {
            const std::int64_t shares = ceil_div(tile.rows.size(), plan_.copied_rows);
            for (std::int64_t i = 0; i < shares; ++i)
                run_in_parts({tile.batch, part(tile.rows, shares, i), tile.columns});
            return;
        }
        if (plan_.k_part < p_.k) return run_in_parts(tile);
        for (std::int64_t n = tile.columns.begin; n < tile.columns.end; n += plan_.chunk) {
            begin_chunk(tile, {n, std::min(n + plan_.chunk, tile.columns.end)});
            const Partial<Acc> stack{partial_, padded(current_.columns.size())};
            if (plan_.in_output || plan_.one_block()) {
                sum_segment(tile, 0, stack);
                continue;
            }
            join_segments(tile, stack);
            if (!stores_groups()) output_.store(tile.rows, {0, current_.columns.size()}, stack);
        }
    }

    /// One segment of a tile, into scratch shared by the segments.
    void run_segment(const Tile& tile, std::int64_t segment, Acc* sums) {
        for (std::int64_t n = tile.columns.begin; n < tile.columns.end; n += plan_.chunk) {
            begin_chunk(tile, {n, std::min(n + plan_.chunk, tile.columns.end)});
            sum_segment(tile, segment, {sums + (n - tile.columns.begin), padded(tile.columns.size())});
        }
    }

    /// One row of one batch, swept: the sums of some columns over one block.
    void run_block(Range columns, Range block, Acc* sums) {
        begin_chunk({0, {0, 1}, columns}, columns);
        current_.begin_block(block);
        find_rows({0, 1}, {0, 1}, 1, rows_of_panels_, packed_a_);
        kernels_.sweep_block(rows_of_panels_[0], sums, 0);
    }

    /// The last step of a tile whose segments were tasks: the sums of segment s start at sums + s * stride.
    void join_and_store(const Tile& tile, Acc* sums, std::int64_t stride) {
        const std::int64_t ld = padded(tile.columns.size()), size = tile.rows.size() * ld;
        for (std::int64_t d = 1; d < plan_.segments; d *= 2)
            for (std::int64_t s = 0; s + d < plan_.segments; s += 2 * d)
                plan_.kernels->add_to(sums + s * stride, sums + (s + d) * stride, size);
        for (std::int64_t n = tile.columns.begin; n < tile.columns.end; n += plan_.chunk) {
            begin_chunk(tile, {n, std::min(n + plan_.chunk, tile.columns.end)});
            output_.store(tile.rows, {0, current_.columns.size()}, {sums + (n - tile.columns.begin), ld});
        }
    }

    static std::int64_t tile_size(const Plan<In, Acc>& plan) {
        return ceil_div(plan.p.m, plan.row_tasks) * ceil_div(plan.panels(), plan.column_tasks) * plan.family.nr;
    }

  private:
    std::int64_t padded(std::int64_t columns) const { return ceil_div(columns, nr_) * nr_; }

    void begin_chunk(const Tile& tile, Range columns) {
        current_.begin_chunk(tile.batch, columns);
        output_.begin(tile.batch, current_.a, current_.b, columns, current_.columns_b);
    }

    /// All chunks of columns for a part of k before the next part. Sums are in the output.
    void run_in_parts(const Tile& tile) {
        for (std::int64_t k = 0; k < p_.k; k += plan_.k_part)
            for (std::int64_t n = tile.columns.begin; n < tile.columns.end; n += plan_.chunk) {
                begin_chunk(tile, {n, std::min(n + plan_.chunk, tile.columns.end)});
                const Range some{k, std::min(k + plan_.k_part, p_.k)};
                if (plan_.copied_rows > 0 && n == tile.columns.begin)
                    current_.copy_rows(tile.rows, some, packed_a_, rows_a_);
                sum_blocks(tile, some, k == 0, {});
            }
    }

    void join_segments(const Tile& tile, const Partial<Acc>& stack) {
        const std::int64_t size = tile.rows.size() * stack.ld;
        if (plan_.segments == 0) std::fill_n(stack.sums, size, Acc(0));
        Acc* top = stack.sums;  // one past the waiting sums
        const auto join = [&] {
            top -= size;
            plan_.kernels->add_to(top - size, top, size);
        };
        for (std::int64_t s = 0; s < plan_.segments; ++s) {
            sum_segment(tile, s, {top, stack.ld});
            top += size;
            for (std::int64_t bits = s; bits & 1; bits >>= 1) join();
        }
        while (top - stack.sums > size) join();
    }

    /// The block sums of a segment, added in order in the output or, if the plan says so, in `partial`. If there is one
    /// block in all, it is stored at once, and `partial` holds a few panels of rows at a time.
    void sum_segment(const Tile& tile, std::int64_t segment, const Partial<Acc>& partial) {
        const std::int64_t begin = segment * plan_.segment, end = std::min(begin + plan_.segment, p_.k);
        if (plan_.reads_along()) return sum_along(tile.rows, {begin, end}, partial);
        if (plan_.blocks > 0) return sum_packed(tile.rows, partial);
        sum_blocks(tile, {begin, end}, true, partial);
    }

    /// Some blocks of a segment; `first`: from its first one on.
    void sum_blocks(const Tile& tile, Range blocks, bool first, const Partial<Acc>& partial) {
        const auto [begin, end] = blocks;
        const std::int64_t row_panels = ceil_div(tile.rows.size(), mr_);
        for (std::int64_t k = begin; k < end; k += plan_.block) {
            current_.begin_block({k, std::min(k + plan_.block, end)});
            kernels_.finishes = (stores_groups() || stores_at_once()) && current_.block.end >= end;
            const Write write = first && k == begin ? plan_.first : Write::add;
            // If B passes, it is brought panel by panel.
            next_block_.find(plan_, current_.a, current_.b, plan_.panels_b == Panels::passing, tile.rows,
                             current_.columns, current_.next_block(),
                             row_panels * ceil_div(current_.columns.size(), nr_) * current_.groups);
            if (plan_.rows_stay()) {
                sum_strips(tile.rows, write, partial);
                continue;
            }
            const std::int64_t groups = ceil_div(row_panels, together()),
                               packing = packs_on_the_way() ? first_inside(tile.rows, row_panels, groups) : groups;
            if (packing < groups)
                columns_.find_in_place();
            else if (!plan_.sweep)
                columns_.find();
            // From the group that packs the columns on, then those before it.
            for (std::int64_t i = 0; i < groups; ++i) {
                const std::int64_t g = (packing + i) % groups;
                sum_group(tile.rows, part(row_panels, groups, g), row_panels, write, partial, g == packing);
            }
        }
    }

    /// All of k with panels that were packed, or are packed for some blocks now.
    void sum_packed(Range rows, const Partial<Acc>& partial) {
        const std::int64_t group = plan_.kernels->group, depth = p_.k / group, block = plan_.block / group,
                           step = plan_.blocks * block;
        for (std::int64_t k = 0; k < depth; k += step) {
            const Range some{k, std::min(k + step, depth)};
            if (const PackedB* const b = plan_.packed) {
                const PackedColumns<In> all{reinterpret_cast<const In*>(b->data),
                                            0,
                                            b->nr,
                                            b->panels() * b->nr,
                                            depth % block,
                                            current_.columns.begin};
                multiply_packed(rows, some, all, {}, partial);
            } else {
                multiply_chunk(rows, some, partial);
            }
        }
    }

    /// Some blocks of k with packed panels. If sums wait in scratch and these are the last blocks, some rows are stored
    /// at a time, while they are near.
    void multiply_packed(Range rows, Range k, const PackedColumns<In>& b, const ColumnsInPlace<In>& in_place,
                         const Partial<Acc>& partial) {
        const Range columns{0, current_.columns.size()};
        const bool all = k.size() * plan_.kernels->group == p_.k, last = k.end * plan_.kernels->group == p_.k;
        PackedPanels<In, Acc> panels(plan_, current_.a, b, in_place);
        for (std::int64_t g = 0; g < panels.groups(rows); ++g) {
            const Range group = panels.group(rows, g);
            if (plan_.in_output) {
                panels.multiply(rows, g, columns, k, output_.sums(group.begin, 0), output_.step());
                continue;
            }
            const Partial<Acc> sums = all ? partial : partial.from(group.begin - rows.begin);
            after_.end();
            if (last) after_.begin(group, columns);
            panels.multiply(rows, g, columns, k, sums.sums, sums.ld, last ? &after_ : nullptr);
            if (last) output_.store(group, columns, sums);
        }
    }

    /// Some blocks of k of a chunk, which is packed first, or by the kernels of the first rows.
    void multiply_chunk(Range rows, Range k, const Partial<Acc>& partial) {
        const std::int64_t group = plan_.kernels->group, block = plan_.block / group, n = current_.columns.size();
        ColumnsInPlace<In> in_place{};
        if (packs_on_the_way()) {
            const std::int64_t pitch = p_.roles.summed.axes[0].b, first = k.begin * group, step = k.size() * group,
                               end = k.end * group;
            const auto at = [&](std::int64_t row, std::int64_t column) {
                return advance(current_.b, current_.columns_b[0] + row * pitch + column, p_.b_type);
            };
            // The same columns further on, or those that follow.
            const bool more_k = end < p_.k, more_columns = current_.columns.end < p_.n;
            in_place = {at(first, 0), pitch, columns_.packed(),
                        more_k         ? at(end, 0)
                        : more_columns ? at(0, n)
                                       : nullptr,
                        more_k ? std::min(step, p_.k - end) : step};
        }
        for (std::int64_t i = 0; !in_place.data && k.begin + i * block < k.end; ++i) {
            const std::int64_t first = (k.begin + i * block) * group;
            current_.begin_block({first, std::min(first + plan_.block, p_.k)});
            columns_.pack_block(i);
        }
        multiply_packed(rows, k, {columns_.packed(), k.begin, nr_, padded(n), block, 0}, in_place, partial);
    }

    /// A segment of few rows with columns contiguous along k.
    void sum_along(Range rows, Range segment, const Partial<Acc>& partial) {
        const int group = plan_.kernels->group;
        const std::int64_t groups = PackedB::rows(segment.size(), group, plan_.pairs);
        const auto [c, ldc] = kernels_.sums_at(rows, 0, partial, rows.begin);
        const void* const b = advance(current_.b, segment.begin, p_.b_type);
        const AxisList& k = p_.roles.summed;
        fill_offsets(p_.roles.rows, &Axis::a, rows.begin, rows.size(), rows_a_);
        const bool stay = plan_.dot && plan_.a_is_in && k.axes[0].a == 1 && p_.roles.rows.size <= 1 &&
                          groups * group == segment.size();
        const PackSource from{current_.a, rows_a_, stay ? nullptr : current_.k_a(segment), rows.size(), segment.size()};
        if (plan_.transposed) {
            const auto size = static_cast<std::int64_t>(size_of(p_.b_type));
            const std::int64_t pitch = transposed_pitch(plan_);
            plan_.transposed_a(packed_a_, pitch, from);
            // Dot products of bfloat16, which take longer than others, take 0.9 of the time by tens. Columns from
            // memory that are asked for take 0.73 to 0.92 (Zen 5, 8 to 32 rows). Where L2 is large it was not measured.
            const bool quick = units().two_fma_units && !caches().large_l2(),
                       ask = quick && plan_.bytes_of_b() > far_bytes(),
                       ten = quick && (plan_.kernels->group == 2 || ask);
            plan_.transposed({groups, plan_.block / group, rows.size(), packed_a_, pitch,
                              static_cast<const In*>(advance(b, current_.columns_b[0], p_.b_type)),
                              p_.roles.columns.axes[0].b * size, current_.columns.size(), c, ldc, plan_.first, ten,
                              ask});
        } else {
            const In* a = packed_a_;
            std::int64_t lda = groups_along(plan_) * std::int64_t{sizeof(In)};
            if (stay) {
                const auto size = static_cast<std::int64_t>(size_of(p_.a_type));
                a = static_cast<const In*>(advance(current_.a, rows_a_[0] + segment.begin, p_.a_type));
                lda = rows.size() > 1 ? (rows_a_[1] - rows_a_[0]) * size : 0;
            } else {
                plan_.pack_a(packed_a_, groups_along(plan_), from);
            }
            const std::int64_t bytes = p_.n * segment.size() * std::int64_t(size_of(p_.b_type));
            plan_.dot[rows.size() - 1]({segment.size(), a, lda, b, current_.columns_b, current_.columns.size(), c, ldc,
                                        plan_.first, plan_.block, room_for_widened(rows.size()), bytes > caches().l2,
                                        bytes >= caches().l3_of_one_core(), two_chains(bytes)});
        }
        if (stores_at_once()) output_.store(rows, {0, current_.columns.size()}, partial);
    }

    /// Whether one row waits for its chains, and not for columns, which take so many bytes. Float32 where the last
    /// level is fast and two multiply-adds start in a cycle; elsewhere two chains took 1.02 to 1.16 of the time.
    bool two_chains(std::int64_t bytes) const {
        return bytes <= far_bytes() && (plan_.kernels->group == 2 || (units().two_fma_units && !caches().large_l2()));
    }

    /// One row of pairs takes less time as float32 where the dot-product instruction is slow. Everything else that is
    /// packed for `dot` is one row.
    Acc* room_for_widened(std::int64_t rows) const {
        const bool widens = rows == 1 && plan_.kernels->group == 2 && !std::is_integral_v<Acc> &&
                            units().slow_dot_bfloat16 && plan_.block % 32 == 0;
        return widens ? reinterpret_cast<Acc*>(packed_a_ + groups_along(plan_)) : nullptr;
    }

    /// Whether a chunk is packed by the kernels of its first rows.
    bool packs_on_the_way() const {
        return plan_.packing && plan_.panels_b == Panels::chunks && current_.columns.size() % nr_ == 0;
    }

    /// The rows of some panels of a tile.
    static Range rows_of(Range tile_rows, Range group, std::int64_t row_panels) {
        return {part(tile_rows, row_panels, group.begin).begin, part(tile_rows, row_panels, group.end - 1).end};
    }

    /// The first group of panels of rows that needs all columns of the chunk; `groups` if there is none.
    std::int64_t first_inside(Range tile_rows, std::int64_t row_panels, std::int64_t groups) const {
        std::int64_t g = 0;
        while (g < groups && cover(plan_.part, rows_of(tile_rows, part(row_panels, groups, g), row_panels),
                                   current_.columns) != Cover::inside)
            ++g;
        return g;
    }

    /// The block's part of some panels of rows with all panels of columns; each panel of columns is read once for all
    /// of them. `packs`: the first panel of rows packs the columns, which are in place.
    void sum_group(Range tile_rows, Range group, std::int64_t row_panels, Write write, const Partial<Acc>& partial,
                   bool packs) {
        const Range all = rows_of(tile_rows, group, row_panels);
        const Cover covered = cover(plan_.part, all, current_.columns);
        if (covered == Cover::outside) return;
        const bool at_once = stores_at_once();
        const std::int64_t together = group.size();
        RowPanel<In>* const rows = rows_of_panels_;
        find_rows(tile_rows, group, row_panels, rows, packed_a_);
        const std::int64_t first = at_once ? all.begin : tile_rows.begin, last = all.end;
        if (plan_.sweep) {
            kernels_.sweep(rows[0], write, partial, first);
        } else if (plan_.takes_far_panels()) {
            kernels_.multiply_far(rows[0], write, partial, first);
        } else {
            const bool for_panels = plan_.panels_b == Panels::packed && !plan_.waits_for_rows() &&
                                    (together > 1 || plan_.waits_for_panels());
            PrefetchLines next = wanted_.after_rows(tile_rows, last, together);
            after_.end();
            if (kernels_.finishes) after_.begin(all, {0, current_.columns.size()});
            auto tiles = kernels_.whole_tiles(all, write, partial, first, &next);
            for (std::int64_t j = 0; j < current_.columns.size(); j += nr_) {
                if (for_panels) next = wanted_.after_panel(j, together);
                const bool whole = covered == Cover::inside && j + nr_ <= current_.columns.size();
                for (std::int64_t r = 0; r < together; ++r) {
                    next_block_.refill(next), after_.refill(next);
                    if (packs && r == 0)
                        kernels_.multiply_packing(rows[r], j, {0, current_.columns.size()}, write, partial, first,
                                                  &next);
                    else if (whole)
                        tiles(kernels_, rows[r], j);
                    else
                        kernels_.multiply(rows[r], j, write, partial, first, &next);
                }
            }
        }
        if (at_once)
            output_.store(all, {0, current_.columns.size()}, partial);
        else
            store_group(all, {0, current_.columns.size()}, partial, first);
    }
    bool stores_at_once() const { return !plan_.in_output && !plan_.split_k && plan_.one_block(); }
    /// Sums of several blocks are stored with the last block, a few panels of rows at a time, while they are in cache.
    bool stores_groups() const {
        return !plan_.in_output && !plan_.split_k && plan_.segments == 1 && !plan_.one_block() && !plan_.reads_along();
    }
    /// Stores some rows of a tile whose first row is `first`.
    void store_group(Range rows, Range columns, const Partial<Acc>& partial, std::int64_t first) {
        if (kernels_.finishes) output_.store(rows, columns, partial.from(rows.begin - first));
    }

    /// Panels of rows that share a pass over the columns. Packed columns in L2 can be read for one panel at a time:
    /// rows far apart would leave the output's rows, which the hardware prefetcher follows, at each step. But rows that
    /// have to be transposed are transposed many at once, and wide kernels would read the columns too fast for the
    /// level behind L2. And a tape takes long to begin.
    std::int64_t together() const {
        const std::int64_t most = most_together(plan_);
        const bool few = ceil_div(p_.m, plan_.row_tasks * mr_) < most, wide = current_.columns.size() >= 8 * nr_;
        return few || plan_.epilogue || !current_.a_stays || (columns_.gap() != 0 && !plan_.packed_in_chunks) ||
                       (plan_.panels_b == Panels::in_place && wide)
                   ? most
                   : 1;
    }

    /// The block's part of all panels of rows, which stay in L2, with one strip of columns after the other. The next
    /// strip is prefetched during the kernels of this one, so that its packing finds it in L2.
    void sum_strips(Range tile_rows, Write write, const Partial<Acc>& partial) {
        const std::int64_t panels = ceil_div(tile_rows.size(), mr_), most = most_together(plan_);
        for (std::int64_t r = 0; r < panels; r += most)
            find_rows(tile_rows, {r, std::min(r + most, panels)}, panels, rows_of_panels_ + r,
                      packed_a_ + r * mr_ * pitch_);
        const bool in_place = plan_.panels_b == Panels::passing || plan_.packing;
        if (in_place) columns_.find_in_place();
        const std::int64_t together = stored_columns(plan_);
        for (std::int64_t s = 0; s < current_.columns.size(); s += plan_.strip) {
            const Range strip{s, std::min(s + plan_.strip, current_.columns.size())};
            if (!in_place) columns_.pack(strip);
            PrefetchLines next = wanted_.after_strip(strip, panels);
            after_.end();
            const bool at_once = stores_at_once(), several = together > plan_.strip;
            const std::int64_t begin = s / together * together;
            const Range stored{begin, std::min(begin + together, current_.columns.size())};
            const Partial<Acc> sums = at_once ? Partial<Acc>{partial.sums, padded(stored.size()), begin} : partial;
            const bool stores = kernels_.finishes && strip.end == stored.end;
            std::int64_t first = tile_rows.begin;  // not stored yet
            for (std::int64_t r = 0; r < panels; ++r) {
                const Range rows = rows_of_panels_[r].rows;
                if (stores && rows.begin == first)
                    after_.begin({first, std::min(first + stored_rows(plan_), tile_rows.end)}, stored);
                const bool inside = cover(plan_.part, rows, current_.columns) == Cover::inside;
                const std::int64_t top = at_once && !several ? first : tile_rows.begin;
                auto tiles = kernels_.whole_tiles(rows, write, sums, top, &next);
                for (std::int64_t j = strip.begin; j < strip.end; j += nr_) {
                    const bool whole = j + nr_ <= current_.columns.size();
                    next_block_.refill(next), after_.refill(next);
                    if (r == 0 && plan_.packing && whole)
                        kernels_.multiply_packing(rows_of_panels_[r], j, strip, write, sums, top, nullptr);
                    else if (whole && inside)
                        tiles(kernels_, rows_of_panels_[r], j);
                    else
                        kernels_.multiply(rows_of_panels_[r], j, write, sums, top, &next);
                }
                if (plan_.in_output ||
                    (r + 1 < panels && rows_of_panels_[r + 1].rows.end - first <= stored_rows(plan_)))
                    continue;
                if (stores) output_.store({first, rows.end}, stored, sums.from(first - top));
                first = rows.end;
            }
        }
    }

    /// Whether rows of A are read in place: a line of each, and the lines of B that pass meanwhile, fit the sets of the
    /// nearest cache that rows so far apart share; or there is too little arithmetic to pay for a copy.
    bool rows_stay(std::int64_t rows) const {
        if (!current_.a_stays) return false;
        if (p_.m == 1) return true;
        if (p_.roles.rows.size > 1) return false;
        const std::int64_t step = p_.roles.rows.axes[0].a * static_cast<std::int64_t>(size_of(p_.a_type));
        return fit_sets(rows, step) ||
               (current_.columns.size() <= 4 * nr_ && current_.groups * std::int64_t{sizeof(In)} <= 256);
    }

    /// Rows of A as their tape gives them, one after the other from packed_a_.
    void run_tape_of_a(Range rows) {
        if (!plan_.a_is_in) {
            staged_a_.run(*plan_.prologue_a, current_.batch, rows, current_.block, false);
            return plan_.pack_a(packed_a_, pitch_, staged_a_.source(0, rows.size()));
        }
        const std::int64_t group = plan_.kernels->group, rest = current_.groups * group - current_.block.size();
        run_prologue(*plan_.prologue_a, p_.a_type, current_.batch, rows, current_.block, packed_a_, pitch_ * group, 1,
                     staged_a_.kept);
        const std::int64_t size = static_cast<std::int64_t>(size_of(p_.a_type));
        for (std::int64_t i = 0; i < rows.size() && rest > 0; ++i)
            std::fill_n(reinterpret_cast<std::byte*>(packed_a_ + i * pitch_) + current_.block.size() * size,
                        rest * size, std::byte{0});
    }

    /// Some panels of rows: in place or, if they are packed now, one row after the other from `packed`.
    void find_rows(Range tile_rows, Range group, std::int64_t row_panels, RowPanel<In>* panels, In* packed) {
        const Range all = rows_of(tile_rows, group, row_panels);
        if (plan_.copied_rows > 0) {
            for (std::int64_t i = group.begin; i < group.end; ++i) {
                const Range rows = part(tile_rows, row_panels, i);
                panels[i - group.begin] = {current_.copied_row(rows.begin), current_.groups * std::int64_t{sizeof(In)},
                                           rows};
            }
            return;
        }
        const auto size = static_cast<std::int64_t>(size_of(p_.a_type));
        fill_offsets(p_.roles.rows, &Axis::a, all.begin, all.size(), rows_a_);
        const bool stay = !plan_.prologue_a && rows_stay(ceil_div(all.size(), group.size()));
        const std::int64_t step = stay && all.size() > 1 ? (rows_a_[1] - rows_a_[0]) * size : 0;
        if (plan_.prologue_a)
            run_tape_of_a(all);
        else if (!stay && !plan_.takes_adjacent())
            plan_.pack_a(packed, pitch_, {current_.a, rows_a_, current_.k_a(), all.size(), current_.block.size()});
        for (std::int64_t i = group.begin; i < group.end; ++i) {
            const Range rows = part(tile_rows, row_panels, i);
            const std::int64_t at = rows.begin - all.begin;
            const auto in_place = [&](std::int64_t pitch) -> RowPanel<In> {
                const auto* const at_row =
                    static_cast<const std::byte*>(current_.a) + (rows_a_[at] + current_.first_a) * size;
                return {reinterpret_cast<const In*>(at_row), pitch, rows};
            };
            if (plan_.takes_adjacent() || stay)
                panels[i - group.begin] = in_place(plan_.takes_adjacent() ? p_.roles.summed.axes[0].a * size : step);
            else
                panels[i - group.begin] = {packed + at * pitch_, pitch_ * std::int64_t{sizeof(In)}, rows};
        }
    }

    const Plan<In, Acc>& plan_;
    const Lowered& p_;
    const std::int64_t nr_, mr_, pitch_;  // pitch: groups from one packed row of A to the next
    Scratch scratch_;
    TileOutput<In, Acc> output_;
    EpilogueLines<In, Acc> after_;
    CurrentBlock<In, Acc> current_;
    ColumnPanels<In, Acc> columns_;
    TileKernels<In, Acc> kernels_;
    PrefetchTargets<In, Acc> wanted_;
    NextBlock next_block_;
    RowPanel<In>* rows_of_panels_;
    In* packed_a_;
    Staging staged_a_;
    Acc* partial_ = nullptr;
    std::int64_t* rows_a_;
};

}  // namespace tenon::product::dense
