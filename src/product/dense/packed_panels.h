// Columns that were packed, and rows of A in place: some blocks of k of a tile before the next tile. Sums of several
// blocks are then added in the nearest cache, and the output passes through the other ones once for all of them. The
// loops do next to nothing besides: what they touch between two kernels, which use all of the nearest cache, is waited
// for.
#pragma once

#include <algorithm>
#include <utility>

#include "base/caches.h"
#include "product/dense/epilogue_lines.h"
#include "product/dense/plan.h"
#include "product/dense/tile.h"
#include "product/dense/tile_output.h"
#include "product/dense/worker_scratch.h"

namespace tenon::product::dense {

/// Where panels are: in each block of k they follow each other. Lengths of k count groups.
template <class In>
struct PackedColumns {
    const In* data;  // of the first column
    std::int64_t from;  // the block of k there
    std::int64_t nr;  // of a panel; kernels may read two side by side
    std::int64_t columns;  // of all panels
    std::int64_t last;  // rows from one panel to the next in a short last block
    std::int64_t first;  // of these columns, the one that counts as 0
};

/// Adjacent columns as they are stored, from the chunk's first and the first k of its buffer, which the kernels of the
/// first rows pack. Rows and pitches count stored elements.
template <class In>
struct ColumnsInPlace {
    const void* data;  // or null
    std::int64_t pitch;
    In* packed;  // the buffer
    const void* next;  // the panel that is packed after the chunk's last one, or null
    std::int64_t next_k;  // its rows
};

/// One thread's part of such a product. Lengths of k count groups.
template <class In, class Acc>
class PackedPanels {
  public:
    /// `a` is the batch's first row.
    PackedPanels(const Plan<In, Acc>& plan, const void* a, const PackedColumns<In>& b,
                 const ColumnsInPlace<In>& in_place = {})
        : plan_(plan),
          b_(b),
          in_place_(in_place),
          depth_(plan.p.k / plan.kernels->group),
          block_(plan.block / plan.kernels->group),
          mr_(plan.family.mr),
          nr_(plan.family.nr),
          lda_(plan.p.roles.rows.axes[0].a * std::int64_t{sizeof(In)} / plan.kernels->group),
          a_(static_cast<const char*>(a)),
          asks_((plan.p.m + plan.p.n) * depth_ * std::int64_t{sizeof(In)} > caches().l2) {}

    /// Rows are taken a group at a time.
    std::int64_t groups(Range rows) const { return ceil_div(ceil_div(rows.size(), mr_), packed_together(plan_)); }
    Range group(Range rows, std::int64_t g) const { return part(rows, groups(rows), g); }

    /// Group g of the rows with some whole blocks of k, or the last ones; `c` is where its first row's sums go. The
    /// first group packs the columns if they are in place. `after`: what an epilogue needs next; or null.
    void multiply(Range rows, std::int64_t g, Range columns, Range k, Acc* c, std::int64_t ldc,
                  EpilogueLines<In, Acc>* after = nullptr) const {
        multiply(group(rows, g), g + 1 < groups(rows) ? group(rows, g + 1) : Range{0, 0}, columns, k, c, ldc,
                 in_place_.data && g == 0, after);
    }

  private:
    /// What the kernels ask for during a panel of columns: the next panel, unless a chunk of them is in L2; during the
    /// last one, what an epilogue needs next; then some of the next rows of A. A panel in place is asked for while the
    /// one before it is multiplied: the kernels that pack it would wait for it (Zen 5, float64: 144 x 768 x 3072 takes
    /// 0.94 of the time, 256 x 2048 x 2048 0.98).
    class Ahead {
      public:
        Ahead(const PackedPanels& p, Range next, Range columns, Range k, bool packs, EpilogueLines<In, Acc>* after)
            : p_(p), k_(k), columns_(columns), packs_(packs), last_(next.size() <= 0), after_(after) {
            if (last_) return;
            const auto* const first = reinterpret_cast<const char*>(p.row(next.begin) + k.begin);
            rows_ = lines_of(first, next.size(), k.size() * std::int64_t{sizeof(In)}, p.lda_);
            share_ = ceil_div(rows_.left, ceil_div(columns.size(), p.nr_));
        }
        /// Before the panel of columns at `column`.
        void begin(std::int64_t column) {
            if (takes_rows_) rows_ = lines, rows_.left += kept_;
            const bool more = column + p_.nr_ < columns_.end;
            takes_rows_ = false, next_ = more ? column + p_.nr_ : columns_.begin, at_ = k_.begin, lines.left = 0;
            const ColumnsInPlace<In>& from = p_.in_place_;
            const std::int64_t size = p_.stored_size();
            in_place_ = {};
            if (packs_ && more)
                in_place_ = lines_of(p_.stored(next_, k_.begin), k_.size() * p_.plan_.kernels->group, p_.nr_ * size,
                                     from.pitch * size);
            else if (last_ && !more && from.next)
                in_place_ = lines_of(from.next, from.next_k, p_.nr_ * size, from.pitch * size);
        }
        /// Continues with further lines once the previous ones have been asked for.
        void refill() {
            if (lines.left > 0) return;
            if (after_ && next_ == columns_.begin && !takes_rows_) after_->refill(lines);
            if (lines.left > 0 || !p_.asks_) return;
            if (in_place_.left > 0) {
                lines = std::exchange(in_place_, {});
            } else if (at_ < k_.end && p_.plan_.packed) {
                const std::int64_t n = std::min(p_.block_, k_.end - at_) * p_.nr_ * std::int64_t{sizeof(In)} / 64;
                lines = {reinterpret_cast<const char*>(p_.panel(next_, at_)), 64, 0, n, n, n};
                at_ += p_.block_;
            } else if (!takes_rows_ && rows_.left > 0) {
                lines = rows_, lines.left = std::min(share_, rows_.left);
                kept_ = rows_.left - lines.left, takes_rows_ = true;
            }
        }

        PrefetchLines lines;

      private:
        const PackedPanels& p_;
        const Range k_, columns_;
        const bool packs_, last_;
        EpilogueLines<In, Acc>* const after_;
        PrefetchLines rows_, in_place_;
        std::int64_t share_ = 0, kept_ = 0, next_ = 0, at_ = 0;
        bool takes_rows_ = false;
    };

    const In* row(std::int64_t i) const { return reinterpret_cast<const In*>(a_ + i * lda_); }
    const In* panel(std::int64_t column, std::int64_t k) const {
        return b_.data + (k - b_.from) * b_.columns + (b_.first + column) * (k + block_ <= depth_ ? block_ : b_.last);
    }

    std::int64_t stored_size() const { return static_cast<std::int64_t>(size_of(plan_.p.b_type)); }
    /// A row of columns in place.
    const void* stored(std::int64_t column, std::int64_t k) const {
        return advance(in_place_.data, (k - b_.from) * plan_.kernels->group * in_place_.pitch + column, plan_.p.b_type);
    }

    /// Some panels of rows with all panels of columns; `next` are the rows after them. `packs`: the first panel of rows
    /// packs the columns.
    void multiply(Range rows, Range next, Range columns, Range k, Acc* sums, std::int64_t ldc, bool packs,
                  EpilogueLines<In, Acc>* after) const {
        // The first panels have one row more than the others.
        const std::int64_t panels = ceil_div(rows.size(), mr_), less = rows.size() / panels,
                           taller = rows.size() % panels;
        Ahead ahead(*this, next, columns, k, packs, after);
        Block block{0, lda_, b_.nr, ldc, nr_, Write::store, 0, &ahead.lines};
        for (std::int64_t j = columns.begin; j < columns.end; j += nr_) {
            block.columns = std::min(nr_, columns.end - j);
            const KernelFamily<In, Acc>& family =
                block.columns == nr_ ? plan_.family : family_for(plan_, block.columns);
            const MicroKernel<In, Acc>* const kernels = block.columns == family.nr ? family.whole : family.tail;
            ahead.begin(j);
            const In* a = row(rows.begin) + k.begin;
            Acc* c = sums + j;
            for (std::int64_t i = 0; i < panels; ++i) {
                const std::int64_t height = less + (i < taller ? 1 : 0);
                for (std::int64_t at = k.begin; at < k.end; at += block_) {
                    if (!packs || i > 0) ahead.refill();
                    block.kc = std::min(block_, k.end - at), block.gap = nr_ > b_.nr ? block.kc * b_.nr : 0;
                    block.write = at == 0 ? plan_.first : Write::add, block.in_cache = at > k.begin;
                    if (packs && i == 0)
                        multiply_packing(block, height, a + (at - k.begin), j, at, c);
                    else
                        kernels[height - 1](block, a + (at - k.begin), panel(j, at), c);
                }
                a = reinterpret_cast<const In*>(reinterpret_cast<const char*>(a) + height * lda_), c += height * ldc;
            }
        }
    }

    void multiply_packing(const Block& block, std::int64_t rows, const In* a, std::int64_t j, std::int64_t k,
                          Acc* c) const {
        const std::int64_t pitch = in_place_.pitch;
        plan_.packing[rows - 1](
            {block.kc, lda_, pitch, block.ldc, nr_, block.write, plan_.pack_ahead(pitch), block.lines}, a,
            static_cast<const In*>(stored(j, k)), in_place_.packed + (panel(j, k) - b_.data), c);
    }

    const Plan<In, Acc>& plan_;
    const PackedColumns<In> b_;
    const ColumnsInPlace<In> in_place_;
    const std::int64_t depth_, block_, mr_, nr_, lda_;  // lda_: bytes
    const char* const a_;
    const bool asks_;
};

}  // namespace tenon::product::dense
