// Products A B^T whose operands' rows are adjacent in memory, as in rank updates of columns. Both operands then have
// the same order, so both are copied once without transposition, or read in place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/caches.h"
#include "base/parallel.h"
#include "base/thread_count.h"
#include "product/contract.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/triangular.h"
#include "product/float_environment.h"
#include "product/matrices.h"

namespace tenon::product {

/// The most bytes between columns of an operand that is read in place, and the part of L2 that all of it may take.
inline constexpr std::int64_t kRankInPlaceStep = 2048, kRankPartOfL2 = 2;
/// Multiply-adds below which a piece is not worth a thread, and elements below which packing is not.
inline constexpr std::int64_t kRankWork = 1 << 18, kRankPackGrain = 1 << 14;
/// Shares of the work for each thread: one that is held up leaves some of its own to the others.
inline constexpr std::int64_t kRankShares = 2;

/// Whether RankUpdate takes operands with these strides.
inline bool rank_update_takes(const Matrix& a, const Matrix& b, const Matrix& c) {
    return a.row_stride == 1 && b.row_stride == 1 && c.column_stride == 1 && a.columns > 0 && a.columns <= kSplitK &&
           a.column_stride > 0 && b.column_stride > 0;
}

/// C <- A B^T, C + A B^T or C - A B^T, all of C or, with m = n, one triangle. A (m, k) and B (n, k) of T have row
/// strides of 1; C has contiguous rows. Sums of more than one block of k can only be stored, not added, and k is at
/// most one segment of the law.
template <class T>
class RankUpdate {
  public:
    RankUpdate(const Matrix& a, const Matrix& b, const Matrix& c, dense::Part part, dense::Write write)
        : kernels_(dense::triangular_kernels<T>()),
          m_(a.rows),
          n_(b.rows),
          k_(a.columns),
          row_panels_(dense::ceil_div(m_, kWidth)),
          panels_(dense::ceil_div(n_, kWidth)),
          part_(part),
          write_(write),
          same_(a.data == b.data && a.column_stride == b.column_stride && m_ == n_),
          a_(static_cast<const T*>(a.data)),
          b_(static_cast<const T*>(b.data)),
          lda_(a.column_stride),
          ldb_(b.column_stride),
          c_(static_cast<T*>(c.data)),
          ldc_(c.row_stride) {}

    void run() {
        const std::int64_t block = std::min(k_, kBlockK);
        in_place_ = serves(lda_) && serves(ldb_);
        // In place, only a last panel is copied that would be read beyond the columns.
        const std::int64_t kept = in_place_ ? 1 : panels_ + (same_ ? 0 : row_panels_);
        const dense::Scratch room(static_cast<std::size_t>(kept * block * kWidth) * sizeof(T));
        packed_ = reinterpret_cast<T*>(room.data());
        for (std::int64_t k = 0; k < k_; k += block) {
            first_ = k, count_ = std::min(block, k_ - k);
            pack();
            compute(k == 0 ? write_ : dense::Write::add);
        }
    }

  private:
    static constexpr std::int64_t kWidth = dense::kKernelBytes / std::int64_t{sizeof(T)}, kHalf = kWidth / 2;

    /// The columns are close enough, and the operand stays in cache.
    bool serves(std::int64_t step) const {
        return step * std::int64_t{sizeof(T)} <= kRankInPlaceStep &&
               std::max(m_, n_) * k_ * std::int64_t{sizeof(T)} <= caches().l2 / kRankPartOfL2;
    }

    /// Copies k of `all` columns from `begin`: kWidth of them, with zeros after the last.
    void copy(T* to, const T* from, std::int64_t ld, std::int64_t all, std::int64_t begin, dense::Range k) const {
        const std::int64_t columns = std::min(kWidth, all - begin);
        T* const there = to + k.begin * kWidth;
        if (columns < kWidth) std::memset(there, 0, static_cast<std::size_t>(k.size() * kWidth) * sizeof(T));
        kernels_.copy(there, kWidth, from + begin + (first_ + k.begin) * ld, ld, k.size(), columns);
    }

    void pack() {
        if (in_place_) {
            if (n_ % kWidth == 0) return;
            const std::int64_t last = (panels_ - 1) * kWidth;
            copy(packed_, b_, ldb_, n_, last, {0, count_});
            return;
        }
        // A slice of k for all columns before the next slice: few pages at a time.
        constexpr std::int64_t kSlice = 32;
        const std::int64_t slices = dense::ceil_div(count_, kSlice);
        parallel_for(slices, std::max<std::int64_t>(1, kRankPackGrain / (std::max(m_, n_) * kSlice)),
                     [&](auto begin, auto end) {
                         for (std::int64_t s = begin; s < end; ++s) {
                             const dense::Range k{s * kSlice, std::min((s + 1) * kSlice, count_)};
                             for (std::int64_t j = 0; j < panels_; ++j)
                                 copy(packed_ + j * count_ * kWidth, b_, ldb_, n_, j * kWidth, k);
                             for (std::int64_t j = 0; j < row_panels_ && !same_; ++j)
                                 copy(packed_ + (panels_ + j) * count_ * kWidth, a_, lda_, m_, j * kWidth, k);
                         }
                     });
    }

    struct Panel {
        const T* data;
        std::int64_t step;
    };
    Panel columns_of(std::int64_t j) const {
        if (!in_place_) return {packed_ + j * count_ * kWidth, kWidth};
        if ((j + 1) * kWidth > n_) return {packed_, kWidth};
        return {b_ + j * kWidth + first_ * ldb_, ldb_};
    }
    Panel rows_of(std::int64_t row) const {
        if (in_place_) return {a_ + row + first_ * lda_, lda_};
        const std::int64_t j = row / kWidth;
        return {packed_ + ((same_ ? 0 : panels_) + j) * count_ * kWidth + row % kWidth, kWidth};
    }

    /// The panels of a chunk's columns that belong to the part in one panel of rows.
    dense::Range columns_in(std::int64_t row_panel, dense::Range chunk) const {
        if (part_ == dense::Part::upper) chunk.begin = std::min(std::max(chunk.begin, row_panel), chunk.end);
        if (part_ == dense::Part::lower) chunk.end = std::max(std::min(chunk.end, row_panel + 1), chunk.begin);
        return chunk;
    }

    /// One panel of rows with as many columns as fill half of L2, then the panels below, then the next columns. Threads
    /// share the tiles that belong to the part, so that equal shares are nearly equal work.
    void compute(dense::Write write) const {
        const std::int64_t bytes = kWidth * count_ * std::int64_t{sizeof(T)},
                           most = std::max<std::int64_t>(1, caches().l2 / kRankPartOfL2 / bytes),
                           chunks = dense::ceil_div(panels_, most),
                           work = (part_ == dense::Part::whole ? 2 : 1) * row_panels_ * panels_,
                           shares = std::clamp<std::int64_t>(work * kWidth * kWidth / 2 * count_ / kRankWork, 1,
                                                             kRankShares * threads_here());
        parallel_for(shares, 1, [&](auto begin, auto end) {
            const FloatEnvironment environment(Subnormals::keep);
            const dense::Range own{dense::part(work, shares, begin).begin, dense::part(work, shares, end - 1).end};
            std::int64_t before = 0;
            for (std::int64_t i = 0; before < own.end; ++i) {
                const std::int64_t row_panel = i % row_panels_;
                const dense::Range columns = columns_in(row_panel, dense::part(panels_, chunks, i / row_panels_)),
                                   mine{first_from(own.begin - before, row_panel, columns),
                                        first_from(own.end - before, row_panel, columns)};
                if (mine.size() > 0) multiply_panel(row_panel, mine, write);
                before += work_of(row_panel, columns);
            }
        });
    }

    /// The work of some panels of columns with a panel of rows: one for a tile on the diagonal, two for any other.
    std::int64_t work_of(std::int64_t row_panel, dense::Range columns) const {
        const bool crosses = part_ != dense::Part::whole && columns.begin <= row_panel && row_panel < columns.end;
        return 2 * columns.size() - (crosses ? 1 : 0);
    }
    /// The first of these panels that has at least `work` before it.
    std::int64_t first_from(std::int64_t work, std::int64_t row_panel, dense::Range columns) const {
        const std::int64_t skipped = part_ == dense::Part::upper && columns.begin == row_panel ? 1 : 0;
        return work <= 0 ? columns.begin : std::min(columns.begin + (work + 1 + skipped) / 2, columns.end);
    }

    void multiply_panel(std::int64_t row_panel, dense::Range columns, dense::Write write) const {
        const std::int64_t first = row_panel * kWidth, rows = std::min(kWidth, m_ - first),
                           pieces = dense::ceil_div(rows, dense::kPanelRows);
        for (std::int64_t p = 0; p < pieces; ++p) {
            const dense::Range own = dense::part(rows, pieces, p);
            multiply({first + own.begin, first + own.end}, columns, write);
        }
    }

    /// At most kPanelRows rows, of one panel.
    void multiply(dense::Range rows, dense::Range chunk, dense::Write write) const {
        const Panel a = rows_of(rows.begin);
        dense::TriangularPanel<T> p{};
        p.rows = rows.size(), p.k = count_, p.a = a.data, p.a_step = a.step, p.write = write, p.step = ldc_;
        for (std::int64_t j = chunk.begin; j < chunk.end; ++j) {
            const dense::Range columns{j * kWidth, std::min((j + 1) * kWidth, n_)};
            const dense::Cover covered = cover(part_, rows, columns);
            if (covered == dense::Cover::outside) continue;
            const Panel b = columns_of(j);
            p.b = b.data, p.pitch = b.step, p.columns = kWidth, p.c = c_ + rows.begin * ldc_ + columns.begin;
            if (covered == dense::Cover::inside && columns.size() == kWidth)
                kernels_.panel(p);
            else
                multiply_part(p, rows, columns);
        }
    }

    /// The columns of a kernel that would write too many.
    void multiply_part(dense::TriangularPanel<T> p, dense::Range rows, dense::Range columns) const {
        alignas(64) T tile[dense::kPanelRows * kWidth];
        T* const c = p.c;
        const std::int64_t step = p.step;
        const dense::Write write = p.write;
        const std::int64_t skip = part_ == dense::Part::upper
                                      ? std::max<std::int64_t>(rows.begin - columns.begin, 0) / kHalf * kHalf
                                      : 0,
                           end = part_ == dense::Part::lower ? std::min(columns.size(), rows.end - columns.begin)
                                                             : columns.size();
        p.b += skip, p.columns = end - skip, p.c = tile + skip, p.step = kWidth, p.write = dense::Write::store;
        kernels_.panel(p);
        for (std::int64_t i = 0; i < rows.size(); ++i) {
            const dense::Range own = within(part_, rows.begin + i, columns);
            const T* const from = tile + i * kWidth;
            T* const to = c + i * step;
            for (std::int64_t e = own.begin - columns.begin; e < own.end - columns.begin; ++e)
                to[e] = write == dense::Write::store ? from[e]
                        : write == dense::Write::add ? to[e] + from[e]
                                                     : to[e] - from[e];
        }
    }

    const dense::TriangularKernels<T>& kernels_;
    const std::int64_t m_, n_, k_, row_panels_, panels_;
    const dense::Part part_;
    const dense::Write write_;
    const bool same_;
    const T *const a_, *const b_;
    const std::int64_t lda_, ldb_;
    T* const c_;
    const std::int64_t ldc_;
    T* packed_ = nullptr;
    bool in_place_ = false;
    std::int64_t first_ = 0, count_ = 0;  // of the current block of k
};

}  // namespace tenon::product
