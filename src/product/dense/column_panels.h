// The panels of a chunk's columns for one block of k: packed by the caller, read in place, or packed here.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "base/caches.h"
#include "product/dense/current_block.h"
#include "product/dense/packed_pairs.h"
#include "product/dense/staging.h"
#include "product/dense/symmetric_packing.h"

namespace tenon::product::dense {

template <class In, class Acc>
class ColumnPanels {
  public:
    ColumnPanels(const CurrentBlock<In, Acc>& current, Scratch& scratch)
        : current_(current),
          plan_(current.plan),
          nr_(plan_.family.nr),
          pitch_(ceil_div(plan_.block, plan_.kernels->group)),
          panels_(scratch.take<Panel<In>>(plan_.chunk / nr_)) {
        if (packed_columns(plan_) > 0) packed_ = scratch.take<In>(pitch_ * packed_columns(plan_));
        if (plan_.prologue_b) staged_ = Staging(scratch, staged(plan_, false), plan_.p.b_type, longest(plan_));
    }

    /// The panel that begins with column j of the chunk.
    const Panel<In>& at(std::int64_t j) const {
        return panels_[static_cast<std::uint32_t>(j) / static_cast<std::uint32_t>(nr_)];
    }
    /// The distance from one packed panel to the next, for kernels that read two.
    std::int64_t gap() const { return gap_; }
    PackedPairs packed_pairs() const { return {*plan_.packed, current_.block.begin, current_.groups / 2}; }

    /// Finds or packs all panels of the chunk.
    void find() {
        switch (plan_.panels_b) {
            case Panels::packed:
                return find_packed(*plan_.packed);
            case Panels::passing:
            case Panels::in_place:
                return plan_.widen_on_load ? find_widen_on_load() : find_in_place();
            default:
                return pack({0, current_.columns.size()});
        }
    }

    /// Packs some columns of the chunk to the start of the buffer.
    void pack(Range range) {
        if (plan_.widen) return widen(range);
        if (plan_.symmetric != Part::whole) return pack_symmetric(range);
        const std::int64_t filled = ceil_div(current_.block.size(), plan_.kernels->group);
        for (std::int64_t j = range.begin; j < range.end; j += nr_) {
            In* const packed = begin_packed(range, j);
            if (filled < current_.groups) std::fill_n(packed + filled * nr_, nr_, In(0));
        }
        pack_all(range);
    }

    /// Packs the chunk's part of a block of k as number `i` of several.
    void pack_block(std::int64_t i) {
        In* const first = packed_;
        packed_ += i * pitch_ * ceil_div(current_.columns.size(), nr_) * nr_;
        pack({0, current_.columns.size()});
        packed_ = first;
    }
    In* packed() const { return packed_; }

    /// The panel at column j of the chunk is in the buffer, which holds `range`, from now on: it is packed by the
    /// caller.
    In* packed_here(Range range, std::int64_t j) { return begin_packed(range, j); }

    /// Each panel also prefetches its neighbour, unless a panel spans no more than the nearest cache. Pitches count
    /// stored elements.
    void find_in_place() {
        const std::int64_t columns = current_.columns.size(), pitch = current_.k_pitch;
        const bool passes = plan_.panels_b == Panels::passing,
                   compact = passes || plan_.in_cache ||
                             std::llabs(pitch) * current_.block.size() * std::int64_t{sizeof(In)} <= kCompactBytes;
        const std::int64_t first = current_.first_b + current_.columns_b[0];
        for (std::int64_t j = 0; j < columns; j += nr_)
            panels_[j / nr_] = {static_cast<const In*>(advance(current_.b, first + j, plan_.p.b_type)), pitch,
                                compact || j + nr_ >= columns ? 0 : nr_};
    }

  private:
    /// bfloat16, in units of In. A cache line holds two panels, and while both are read the next line is prefetched:
    /// its even rows during the first panel's kernels, its odd rows during the second's.
    void find_widen_on_load() {
        constexpr std::int64_t kPart = std::int64_t{sizeof(In)} / 2, kLine = 64 / std::int64_t{sizeof(In)};
        const Range columns = current_.columns, block = current_.block;
        const auto* const first =
            static_cast<const std::byte*>(current_.b) + 2 * (current_.first_b + current_.columns_b[0]);
        const std::int64_t pitch = current_.k_pitch / kPart;
        for (std::int64_t j = 0; j < columns.size(); j += nr_) {
            const bool second = (columns.begin + j) / nr_ % 2 != 0, last = j + 2 * nr_ >= columns.size();
            std::int64_t ahead = second ? kLine / 2 : kLine;
            if (last) ahead = block.end < plan_.p.k ? block.size() * pitch - j / kPart : 0;
            panels_[j / nr_] = {reinterpret_cast<const In*>(first + 2 * j), pitch,
                                second && ahead != 0 ? ahead + pitch : ahead};
        }
    }

    /// A kernel may read two packed panels at once.
    void find_packed(const PackedB& b) {
        const std::int64_t before = PackedB::rows(current_.block.begin, b.group, plan_.pairs);
        const In* const data = reinterpret_cast<const In*>(b.data) + before * b.panels() * b.nr;
        for (std::int64_t j = 0; j < current_.columns.size(); j += nr_)
            panels_[j / nr_] = {data + (current_.columns.begin + j) * current_.groups, b.nr, 0};
        gap_ = nr_ > b.nr ? current_.groups * b.nr : 0;
    }

    /// Where to pack the panel at column j of the chunk. From now on at(j) returns it.
    In* begin_packed(Range range, std::int64_t j) {
        In* const packed = packed_ + (j - range.begin) * pitch_;
        panels_[j / nr_] = {packed, nr_, 0};
        return packed;
    }

    void widen(Range range) {
        for (std::int64_t j = range.begin; j < range.end; j += nr_) {
            In* const packed = begin_packed(range, j);
            const Range columns{current_.columns.begin + j, current_.columns.begin + std::min(j + nr_, range.end)};
            packed_pairs().widen(plan_.widen, plan_.kernels->lanes, columns, reinterpret_cast<float*>(packed), nr_);
        }
    }

    void pack_symmetric(Range range) {
        const AxisRoles& r = plan_.p.roles;
        const SymmetricPanel<In> panel(static_cast<const In*>(current_.b), r.summed.axes[0], r.columns.axes[0],
                                       plan_.symmetric, plan_.pack_b);
        for (std::int64_t j = range.begin; j < range.end; j += nr_) {
            In* const packed = begin_packed(range, j);
            const std::int64_t first = current_.columns.begin + j;
            panel(packed, nr_, current_.block, {first, std::min(first + nr_, current_.columns.end)});
        }
    }

    /// Packs a slice of k for all panels before the next slice, so that B is read in memory order if its columns are
    /// adjacent; otherwise packs each panel whole.
    void pack_all(Range range) {
        const std::int64_t group = plan_.kernels->group, all = current_.columns.size();
        const LoweredPrologue* const tape = plan_.prologue_b;
        const AxisList& axes = plan_.p.roles.columns;
        const bool adjacent = axes.size == 1 ? all == 1 || axes.axes[0].b == 1 : is_affine(current_.columns_b, all, 1),
                   by_rows = tape ? std::llabs(tape->inputs[0].line) <= std::llabs(tape->inputs[0].k) : adjacent;
        // A slice of k that fits the staging buffer.
        const bool far = plan_.b_is_in && group == 1 && caches().large_l2();
        const std::int64_t whole =
            tape ? plan_.chunk / all * kPackRows * group : (far ? kFarPackRows : kPackRows) * group;
        const std::int64_t slice = by_rows ? whole : current_.block.size();
        for (std::int64_t k = 0; k < current_.block.size(); k += slice) {
            const std::int64_t n = std::min(slice, current_.block.size() - k);
            const Range some{current_.block.begin + k, current_.block.begin + k + n};
            if (tape && by_rows) staged_.run(*tape, current_.batch, current_.columns, some, true);
            for (std::int64_t j = range.begin; j < range.end; j += nr_) {
                In* const packed = packed_ + (j - range.begin) * pitch_;
                const std::int64_t columns = std::min(nr_, all - j), first = current_.columns.begin + j;
                if (tape && !by_rows) staged_.run(*tape, current_.batch, {first, first + columns}, some, false);
                plan_.pack_b(packed + k / group * nr_, nr_,
                             tape ? staged_.source(by_rows ? j : 0, columns)
                                  : PackSource{current_.b, current_.columns_b + j, current_.k_b() + k, columns, n});
            }
        }
    }

    const CurrentBlock<In, Acc>& current_;
    const Plan<In, Acc>& plan_;
    const std::int64_t nr_, pitch_;  // pitch: groups of a column in the buffer
    Panel<In>* panels_;
    In* packed_ = nullptr;
    Staging staged_;
    std::int64_t gap_ = 0;
};

}  // namespace tenon::product::dense
