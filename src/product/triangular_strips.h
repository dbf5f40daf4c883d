// Triangular systems with a triangle that stays in the caches: columns of B pass one strip at a time. A tile holds the
// rows of a strip that are solved, so that no product packs anything. Rows of B are used while they are in cache: 64 of
// them, a block, go through all steps of the law before the next.
#pragma once

#include <array>
#include <optional>

#include "base/caches.h"
#include "product/dense/plan.h"
#include "product/triangular_problem.h"

namespace tenon::product {
namespace {

/// The most rows of a triangle for which columns of B pass in strips: if A is packed, and if it is read in place with
/// each sum of a product one block of k. And the part of L2 that all of A may take.
constexpr std::int64_t kPackedRows = 256, kStripRows = 512, kPartOfL2 = 2;
/// Bytes of B's columns for each row of A from which this pays: for fewer columns the copy of A costs too much.
constexpr double kStripBytes = 0.5;

inline bool in_strips(const Problem& p, std::int64_t n) {
    const auto size = static_cast<std::int64_t>(size_of(p.b.dtype));
    const bool in_place = columns_are_near(p.a, size);
    return n > kTriangleRows && n <= (in_place ? kStripRows : kPackedRows) && n * n * size <= caches().l2 / kPartOfL2 &&
           !p.tile && static_cast<double>(p.b.columns * size) >= kStripBytes * static_cast<double>(n);
}

/// The most rows of a part that a system subtracts in the kernel that solves: these and its own stay in the nearest
/// cache.
constexpr std::int64_t kFusedRows = 128;

/// Elements of A whose packing is worth a thread.
constexpr std::int64_t kPackGrain = 1 << 16;

/// `n` rows of a problem from `first`, at most kStripRows. Inside, rows and columns are counted in memory order, blocks
/// in the order of the law.
template <class T>
class Strips {
  public:
    static constexpr std::int64_t kWidth = kKernelBytes / std::int64_t{sizeof(T)};
    /// The distance between rows of a tile: a line more than a row holds, so that columns that are copied use more
    /// cache sets.
    static constexpr std::int64_t kPitch = kWidth + 64 / std::int64_t{sizeof(T)};

    Strips(const Problem& problem, std::int64_t first, std::int64_t n)
        : kernels_(dense::triangular_kernels<T>()),
          n_(n),
          blocks_((n + kTriangleRows - 1) / kTriangleRows),
          a_(block(problem.a, first, first, n, n)),
          b_(block(problem.b, first, 0, n, problem.b.columns)),
          unit_(problem.unit),
          reversed_(problem.reversed),
          triangles_(static_cast<std::size_t>(blocks_ * kStep) * sizeof(T)) {
        if (reversed_) a_ = reverse(a_), b_ = reverse_rows(b_);
        const bool in_place = a_.row_stride == 1 && columns_are_near(a_, std::int64_t{sizeof(T)});
        if (!in_place) packed_.emplace(static_cast<std::size_t>(packed_before(blocks_)) * sizeof(T));
        const auto some = [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                load_triangle(problem, first + i * kTriangleRows, rows_of(i), triangle(i));
                if (!unit_) invert_diagonal(triangle(i), rows_of(i), triangle(i) + kTriangleRows * kTriangleRows);
                if (!in_place) pack(i);
            }
        };
        parallel_for(blocks_, std::max<std::int64_t>(1, kPackGrain / (n * kTriangleRows)), some, Pieces::unlike);
    }

    void run(double alpha) const {
        const std::int64_t grain = std::max<std::int64_t>(1, kTaskWork / (n_ * n_ * kWidth / 2));
        parallel_for(strips(), grain, [&](std::int64_t begin, std::int64_t end) {
            const FloatEnvironment environment(Subnormals::keep);
            const dense::Scratch room(static_cast<std::size_t>((n_ + dense::kPanelRows) * kPitch) * sizeof(T));
            Strip strip{};
            strip.tile = reinterpret_cast<T*>(room.data()), strip.sums = strip.tile + n_ * kPitch;
            for (std::int64_t i = begin; i < end; ++i) {
                strip.b = block(b_, 0, i * kWidth, n_, std::min(kWidth, b_.columns - i * kWidth));
                strip.stays = b_.column_stride == 1 && strip.b.columns == kWidth;
                strip.c = strip.stays ? static_cast<T*>(strip.b.data) : strip.tile;
                strip.step = strip.stays ? strip.b.row_stride : kPitch;
                solve(strip, alpha);
            }
        });
    }

  private:
    /// Elements of a triangle and the inverses of its diagonal.
    static constexpr std::int64_t kStep = (kTriangleRows + 1) * kTriangleRows;
    /// Elements from one column of packed rows to the next: as many lines as reach all cache sets.
    static constexpr std::int64_t kColumnStep = kTriangleRows + 64 / std::int64_t{sizeof(T)};

    /// A strip whose rows are runs of memory stays there, and the tile holds the rows that are solved, which products
    /// read. Any other strip is computed in the tile. `c` is where it is computed.
    struct Strip {
        Matrix b;
        T *tile, *sums, *c;
        std::int64_t step;
        bool stays;
    };
    /// The columns of A, and rows of the tile, of one product that the law assigns to a block.
    struct Part {
        std::int64_t first, count;
    };
    struct Parts {
        std::array<Part, 8> parts;
        std::int64_t count = 0;
    };

    std::int64_t strips() const { return (b_.columns + kWidth - 1) / kWidth; }
    std::int64_t rows_of(std::int64_t block) const { return std::min(kTriangleRows, n_ - block * kTriangleRows); }
    /// Where a block begins in memory.
    std::int64_t begin_of(std::int64_t block) const {
        return reversed_ ? n_ - block * kTriangleRows - rows_of(block) : block * kTriangleRows;
    }
    T* triangle(std::int64_t block) const { return reinterpret_cast<T*>(triangles_.data()) + block * kStep; }

    static std::int64_t panels_of(std::int64_t rows) { return dense::ceil_div(rows, dense::kPanelRows); }

    /// Elements of the packed rows of the blocks before a given one.
    static std::int64_t packed_before(std::int64_t block) {
        return kColumnStep * kTriangleRows * block * (block - 1) / 2;
    }

    /// Packs a block's rows of A so that the elements of a column are adjacent. Some columns at a time, whose pages fit
    /// the TLB.
    void pack(std::int64_t i) {
        const std::int64_t k = i * kTriangleRows, count = rows_of(i);
        std::int64_t rows[kTriangleRows], columns[kTriangleRows];
        for (std::int64_t j = 0; j < kTriangleRows; ++j) rows[j] = j * a_.row_stride, columns[j] = j * a_.column_stride;
        T* to = reinterpret_cast<T*>(packed_->data()) + packed_before(i);
        for (std::int64_t j = 0; j < k; j += kTriangleRows, to += kTriangleRows * kColumnStep) {
            const T* const from =
                static_cast<const T*>(block(a_, begin_of(i), (reversed_ ? n_ - k : 0) + j, 0, 0).data);
            if (a_.row_stride == 1 && count == kTriangleRows)
                for (std::int64_t e = 0; e < kTriangleRows; ++e)
                    std::memcpy(to + e * kColumnStep, from + columns[e], kTriangleRows * sizeof(T));
            else
                pack_across(to, kColumnStep, {from, rows, columns, count, kTriangleRows});
        }
    }

    /// The elements of A in a block's rows and the columns from `above`.
    struct Columns {
        const T* data;
        std::int64_t step;
    };
    Columns columns_of(std::int64_t block, std::int64_t above) const {
        if (!packed_)
            return {static_cast<const T*>(a_.data) + begin_of(block) + above * a_.column_stride, a_.column_stride};
        const std::int64_t first = reversed_ ? n_ - block * kTriangleRows : 0;
        return {reinterpret_cast<const T*>(packed_->data()) + packed_before(block) + (above - first) * kColumnStep,
                kColumnStep};
    }

    /// In the order in which the law adds them: largest first.
    Parts parts_of(std::int64_t block) const {
        Parts all;
        for (std::int64_t first = 0, n = n_, row = block * kTriangleRows; n > kTriangleRows;) {
            const std::int64_t h = half(n);
            if (row < first + h) {
                n = h;
                continue;
            }
            all.parts[static_cast<std::size_t>(all.count++)] = {first, h};
            first += h, n -= h;
        }
        return all;
    }

    /// A system needs, of a block in the tile, what has been solved of it.
    void solve(Strip& strip, double alpha) const {
        for (std::int64_t i = 0; i < blocks_; ++i) {
            const Matrix rows = block(strip.b, begin_of(i), 0, rows_of(i), strip.b.columns);
            T* const tile = strip.tile + begin_of(i) * kPitch;
            if (!strip.stays) move_tile<true>(kernels_, rows, tile, kWidth, kPitch);
            const Parts all = parts_of(i);
            const bool fuses = all.count > 0 && all.parts[static_cast<std::size_t>(all.count - 1)].count <= kFusedRows;
            const std::int64_t apart = all.count - (fuses ? 1 : 0);
            for (std::int64_t p = 0; p < apart; ++p)
                add(strip, i, all.parts[static_cast<std::size_t>(p)], -1, p == 0 ? alpha : 1);
            solve_block(
                strip, i, apart == 0 ? alpha : 1,
                fuses ? earlier_rows(strip, i, all.parts[static_cast<std::size_t>(apart)]) : dense::EarlierRows<T>{},
                next_runs(strip, i));
            if (!strip.stays) move_tile<false>(kernels_, rows, tile, kWidth, kPitch);
        }
    }

    /// The first row of the tile that belongs to a part.
    std::int64_t above(Part part) const { return reversed_ ? n_ - part.first - part.count : part.first; }

    dense::EarlierRows<T> earlier_rows(const Strip& strip, std::int64_t block, Part part) const {
        const Columns a = columns_of(block, above(part));
        return {a.data + (reversed_ ? rows_of(block) - 1 : 0),
                strip.tile + above(part) * kPitch,
                part.count,
                a.step,
                reversed_ ? -1 : 1,
                kPitch};
    }

    /// What a system needs of B after a block: the next block's columns, if they are contiguous, or the next strip's
    /// rows.
    dense::PrefetchedRuns<T> next_runs(const Strip& strip, std::int64_t i) const {
        if (strip.stays) return {strip.c + begin_of(i) * strip.step + kWidth, rows_of(i), kWidth, strip.step};
        if (strip.b.row_stride != 1 || i + 1 == blocks_) return {};
        return {static_cast<const T*>(strip.b.data) + begin_of(i + 1), strip.b.columns, rows_of(i + 1),
                strip.b.column_stride};
    }

    void solve_block(const Strip& strip, std::int64_t block, double alpha, const dense::EarlierRows<T>& earlier,
                     const dense::PrefetchedRuns<T>& next) const {
        const T* const a = triangle(block);
        const std::int64_t n = rows_of(block), row = begin_of(block) + (reversed_ ? n - 1 : 0),
                           sign = reversed_ ? -1 : 1;
        kernels_.solve({a, a + kTriangleRows * kTriangleRows, strip.tile + row * kPitch, n, strip.b.columns, alpha,
                        unit_, strip.stays ? strip.c + row * strip.step : nullptr, sign * strip.step, sign * kPitch,
                        earlier, next});
    }

    /// A block's rows = alpha times A's part times the tile's rows + beta times those rows.
    void add(const Strip& strip, std::int64_t block, Part part, double alpha, double beta) const {
        const std::int64_t row = begin_of(block), panels = panels_of(rows_of(block));
        const Columns a = columns_of(block, above(part));
        const bool scales = std::abs(alpha) != 1 || beta != 1;
        dense::TriangularPanel<T> p{};
        p.k = part.count, p.columns = strip.b.columns, p.b = strip.tile + above(part) * kPitch, p.pitch = kPitch;
        p.write = scales ? dense::Write::store : alpha == 1 ? dense::Write::add : dense::Write::subtract;
        p.a_step = a.step;
        p.step = scales ? kWidth : strip.step;
        for (std::int64_t i = 0; i < panels; ++i) {
            const dense::Range rows = dense::part(rows_of(block), panels, i);
            T* const c = strip.c + (row + rows.begin) * strip.step;
            p.rows = rows.size(), p.c = scales ? strip.sums : c;
            p.a = a.data + rows.begin;
            kernels_.panel(p);
            constexpr std::int64_t kLine = 64 / std::int64_t{sizeof(T)};
            for (std::int64_t r = 0; r < rows.size() && scales; ++r)
                kernels_.scale(strip.sums + r * kWidth, c + r * strip.step, dense::ceil_div(p.columns, kLine) * kLine,
                               static_cast<T>(alpha), static_cast<T>(beta));
        }
    }

    const dense::TriangularKernels<T>& kernels_;
    const std::int64_t n_, blocks_;
    Matrix a_, b_;
    const bool unit_, reversed_;
    dense::Scratch triangles_;
    std::optional<dense::Scratch> packed_;
};

}  // namespace
}  // namespace tenon::product
