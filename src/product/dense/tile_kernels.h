// The calls of the kernels: a panel of rows of A with a panel of columns of B, over the current block of k.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/caches.h"
#include "product/dense/column_panels.h"
#include "product/dense/current_block.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile.h"
#include "product/dense/tile_output.h"
#include "product/dense/worker_scratch.h"

namespace tenon::product::dense {

template <class In, class Acc>
class TileKernels {
  public:
    TileKernels(const CurrentBlock<In, Acc>& current, ColumnPanels<In, Acc>& columns, const TileOutput<In, Acc>& output,
                Scratch& scratch)
        : plan_(current.plan), nr_(plan_.family.nr), current_(current), columns_(columns), output_(output) {
        if (plan_.sweep) sweep_sums_ = scratch.take<Acc>(kDotRows * plan_.chunk);
        crossing_ = scratch.take<Acc>(plan_.family.mr * nr_);
    }

    bool finishes = false;  // this is the last block, and its sums are stored with it

    /// Where a panel of rows puts its sums, from column j of the chunk: the output, or `partial`, whose first row is
    /// `first`.
    struct Sums {
        Acc* data;
        std::int64_t ld;
    };
    Sums sums_at(Range rows, std::int64_t j, const Partial<Acc>& partial, std::int64_t first) const {
        if (!plan_.in_output) return {partial.at(rows.begin - first, j), partial.ld};
        return {output_.sums(rows.begin, j), output_.step()};
    }

    /// All the chunk's columns for a few rows, over one block.
    void sweep_block(const RowPanel<In>& a, Acc* sums, std::int64_t ld) const {
        const auto* b = static_cast<const std::byte*>(current_.b) +
                        current_.columns_b[0] * static_cast<std::int64_t>(size_of(plan_.p.b_type));
        // With prefetch instructions, one row from a slow last level comes at 0.9 of the speed (Emerald Rapids); it is
        // read best in eight streams there, and in four elsewhere (Zen 5: 1.1 times as fast).
        const bool many = caches().large_l2(), fetch = a.rows.size() > 1 || !many;
        plan_.sweep[a.rows.size() - 1]({current_.block.size(), a.data, a.pitch, b, current_.k_b(),
                                        current_.columns.size(), sums, ld, fetch, many});
    }

    void sweep(const RowPanel<In>& a, Write write, const Partial<Acc>& partial, std::int64_t first) {
        const std::int64_t rows = a.rows.size(), n = current_.columns.size(), ld = ceil_div(n, nr_) * nr_;
        const Sums to = sums_at(a.rows, 0, partial, first);
        if (write == Write::store) return sweep_block(a, to.data, to.ld);
        sweep_block(a, sweep_sums_, ld);
        if (write == Write::subtract) negate(sweep_sums_, rows * ld);
        for (std::int64_t i = 0; i < rows; ++i) plan_.kernels->add_to(to.data + i * to.ld, sweep_sums_ + i * ld, n);
    }

    /// The kernels of tiles that are whole and wanted whole. What they share is set once: between two kernels, which
    /// use all of the nearest cache, each further line that is touched is waited for.
    struct WholeTiles {
        Block block;
        const MicroKernel<In, Acc>* kernels;  // by rows - 1
        Sums sums;  // of row `first`, from the first column of the chunk
        std::int64_t first, column;

        void operator()(const TileKernels& k, const RowPanel<In>& a, std::int64_t j) {
            if (k.finishes) k.output_.prefetch(a.rows, {j, j + k.nr_});
            const Panel<In>& b = k.columns_.at(j);
            block.lda = a.pitch, block.ldb = b.pitch, block.ahead = b.ahead;
            kernels[a.rows.size() - 1](block, a.data, b.data,
                                       sums.data + (a.rows.begin - first) * sums.ld + (j - column));
        }
    };
    WholeTiles whole_tiles(Range rows, Write write, const Partial<Acc>& partial, std::int64_t first,
                           PrefetchLines* lines) const {
        const std::int64_t column = plan_.in_output ? 0 : partial.column;
        const Sums sums = sums_at(rows, column, partial, first);
        return {{current_.groups, 0, 0, sums.ld, nr_, write, 0, lines, columns_.gap(),
                 plan_.in_cache || plan_.widen_on_load},
                plan_.family.whole,
                sums,
                rows.begin,
                column};
    }

    /// One micro-kernel: a panel of rows with the panel of columns at j of the chunk.
    void multiply(const RowPanel<In>& a, std::int64_t j, Write write, const Partial<Acc>& partial, std::int64_t first,
                  PrefetchLines* lines = nullptr) {
        const std::int64_t columns = std::min(nr_, current_.columns.size() - j), rows = a.rows.size();
        const auto [c, ldc] = sums_at(a.rows, j, partial, first);
        if (finishes) output_.prefetch(a.rows, {j, j + columns});
        const Range absolute{current_.columns.begin + j, current_.columns.begin + j + columns};
        const Cover covered = cover(plan_.part, a.rows, absolute);
        if (covered == Cover::outside) return;
        if (covered == Cover::crosses) {
            if (!plan_.in_output) return multiply_crossing(a, absolute, write, c, ldc, lines);
            multiply_crossing(a, absolute, Write::store, crossing_, nr_, lines);
            return add_crossing(a.rows, absolute, write, c, ldc);
        }
        const KernelFamily<In, Acc>& family = columns == nr_ ? plan_.family : family_for(plan_, columns);
        const Panel<In> b = columns_.at(j);
        const MicroKernel<In, Acc> kernel = (columns == family.nr ? family.whole : family.tail)[rows - 1];
        kernel({current_.groups, a.pitch, b.pitch, ldc, columns, write, b.ahead, lines, columns_.gap(),
                plan_.in_cache || plan_.widen_on_load},
               a.data, b.data, c);
    }

    /// The same with a whole panel of columns in place, which is packed on the way; the buffer holds the columns
    /// `packed` of the chunk.
    void multiply_packing(const RowPanel<In>& a, std::int64_t j, Range packed, Write write, const Partial<Acc>& partial,
                          std::int64_t first, PrefetchLines* lines) {
        const auto [c, ldc] = sums_at(a.rows, j, partial, first);
        const Panel<In> b = columns_.at(j);
        plan_.packing[a.rows.size() - 1](
            {current_.groups, a.pitch, b.pitch, ldc, nr_, write, plan_.pack_ahead(b.pitch), lines}, a.data, b.data,
            columns_.packed_here(packed, j), c);
    }

    /// All columns of the chunk, packed, for one row: two panels at a time that are half of the columns apart. Their
    /// sums are in the nearest cache, so the kernel's loop is not cut to prefetch them: the hardware prefetches by the
    /// addresses of instructions.
    void multiply_far(const RowPanel<In>& a, Write write, const Partial<Acc>& partial, std::int64_t first) {
        const std::int64_t width = nr_ / 2, pairs = current_.columns.size() / nr_, step = width * current_.groups;
        const Block block{current_.groups, a.pitch, width, nr_, nr_, Write::store, 0, nullptr, pairs * step, true};
        Acc* const c = sums_at(a.rows, 0, partial, first).data;
        const In* b = pairs > 0 ? columns_.at(0).data : nullptr;
        for (std::int64_t j = 0; j < pairs * width; j += width, b += step) {
            plan_.family.whole[0](block, a.data, b, crossing_);
            if (write == Write::subtract) negate(crossing_, nr_);
            for (std::int64_t half = 0; half < 2; ++half) {
                const Acc* const from = crossing_ + half * width;
                Acc* const to = c + j + half * pairs * width;
                if (write == Write::store)
                    std::copy_n(from, width, to);
                else
                    plan_.kernels->add_to(to, from, width);
            }
        }
        for (std::int64_t j = pairs * nr_; j < current_.columns.size(); j += nr_) multiply(a, j, write, partial, first);
    }

  private:
    static void negate(Acc* sums, std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) sums[i] = -sums[i];
    }

    /// A tile that crosses the diagonal: only its columns that meet the part, and perhaps a few more, by the narrowest
    /// kernel that holds them.
    void multiply_crossing(const RowPanel<In>& a, Range columns, Write write, Acc* c, std::int64_t ldc,
                           PrefetchLines* lines) {
        const std::int64_t unit = plan_.kernels->narrow.nr, have = columns.size();
        // A kernel of two packed panels would start in the second one if it skipped columns.
        const std::int64_t skip = plan_.part == Part::upper && columns_.gap() == 0
                                      ? std::max<std::int64_t>(a.rows.begin - columns.begin, 0) / unit * unit
                                      : 0;
        const std::int64_t end = plan_.part == Part::lower ? std::min(have, a.rows.end - columns.begin) : have;
        const KernelFamily<In, Acc>& family = family_for(plan_, end - skip);
        const bool whole = skip + family.nr <= have;
        const Panel<In> b = columns_.at(columns.begin - current_.columns.begin);
        (whole ? family.whole : family.tail)[a.rows.size() - 1](
            {current_.groups, a.pitch, b.pitch, ldc, whole ? family.nr : end - skip, write, b.ahead, lines,
             columns_.gap()},
            a.data, b.data + skip, c + skip);
    }

    /// Adds to the output the elements of a crossing tile that belong to the part.
    void add_crossing(Range rows, Range columns, Write write, Acc* c, std::int64_t ldc) {
        if (write == Write::subtract) negate(crossing_, rows.size() * nr_);
        for (std::int64_t i = 0; i < rows.size(); ++i) {
            const Range own = within(plan_.part, rows.begin + i, columns);
            if (own.size() <= 0) continue;
            const Acc* from = crossing_ + i * nr_ + (own.begin - columns.begin);
            Acc* to = c + i * ldc + (own.begin - columns.begin);
            if (write == Write::store)
                std::copy_n(from, own.size(), to);
            else
                plan_.kernels->add_to(to, from, own.size());
        }
    }

    const Plan<In, Acc>& plan_;
    const std::int64_t nr_;
    const CurrentBlock<In, Acc>& current_;
    ColumnPanels<In, Acc>& columns_;
    const TileOutput<In, Acc>& output_;
    Acc *sweep_sums_ = nullptr, *crossing_;
};

}  // namespace tenon::product::dense
