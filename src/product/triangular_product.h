// Products with a triangle: blocks of rows, each multiplied in place by its own square on the diagonal and then added
// to by products with the blocks before it. A square is one pass of kernels like those of products, whose sums end at
// the diagonal.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "base/caches.h"
#include "product/contract.h"
#include "product/dense/plan.h"
#include "product/triangular_problem.h"

namespace tenon::product {
namespace {

/// Rows of a block, part of the order law (tenon/product.h): a product with another block is one block of k, and is
/// added where B is.
constexpr std::int64_t kProductRows = kBlockK;

/// The part of L2 that packed rows of A may take while columns of B pass.
constexpr std::int64_t kPackedPartOfL2 = 2;

/// Whether elements of B's columns are adjacent.
inline bool columns_run(const Matrix& b) {
    return std::abs(b.row_stride) == 1 && (b.column_stride != 1 || b.columns == 1);
}

/// Rows of B times the square of A on the diagonal.
template <class T>
class SquareProduct {
  public:
    SquareProduct(const Problem& p, std::int64_t first, std::int64_t n, double alpha)
        : kernels_(dense::triangular_kernels<T>()),
          n_(n),
          a_(block(p.a, first, first, n, n)),
          b_(block(p.b, first, 0, n, p.b.columns)),
          alpha_(static_cast<T>(alpha)),
          unit_(p.unit) {}

    void run() const {
        if (columns_run(b_))
            along_rows();
        else
            along_columns();
    }

  private:
    static constexpr std::int64_t kWidth = dense::kPanelWidth<T>, kSize = std::int64_t{sizeof(T)};
    /// The distance between rows of a tile: a line more than a row holds, so that columns that are copied use more
    /// cache sets.
    static constexpr std::int64_t kPitch = kWidth + 64 / kSize;
    /// Rows of a panel of packed A: where vectors run along them, as many as a kernel holds; otherwise a few times as
    /// many as a kernel has, an odd number of lines in float, so that columns are in all cache sets.
    static constexpr std::int64_t kBroadcastRows = 8 * dense::kPanelRows;
    /// Rows of the squares on the diagonal whose elements are copied one by one, and columns that are packed at a time:
    /// no more than the TLB has pages for.
    static constexpr std::int64_t kSquareRows = 16, kColumnsAtOnce = 64;
    static_assert(kWidth % kSquareRows == 0 && kBroadcastRows % kSquareRows == 0);
    static_assert(std::max(kWidth, kBroadcastRows) <= kTriangleRows);

    /// Multiply-adds for each column of B.
    std::int64_t work() const { return n_ * (n_ + 1) / 2; }

    // --- A is packed in panels of `width` rows, the elements of a column adjacent, in the order of memory; `down`:
    // from the last row to the first, so that the triangle is an upper one ---

    std::int64_t panels(std::int64_t width) const { return dense::ceil_div(n_, width); }
    /// Elements of the panels before a given one.
    static std::int64_t packed_before(std::int64_t panel, std::int64_t width) {
        return width * width * panel * (panel + 1) / 2;
    }

    static void pack_columns(T* to, std::int64_t width, const Matrix& a, std::int64_t row, std::int64_t column,
                             std::int64_t rows, std::int64_t columns) {
        std::int64_t row_offsets[kTriangleRows], column_offsets[kColumnsAtOnce];
        for (std::int64_t i = 0; i < rows; ++i) row_offsets[i] = i * a.row_stride;
        for (std::int64_t first = 0; first < columns; first += kColumnsAtOnce) {
            const std::int64_t some = std::min(kColumnsAtOnce, columns - first);
            for (std::int64_t j = 0; j < some; ++j) column_offsets[j] = j * a.column_stride;
            pack_across(to + first * width, width,
                        {block(a, row, column + first, 0, 0).data, row_offsets, column_offsets, rows, some});
        }
    }

    /// A small square on the diagonal, from `first`: nothing outside the triangle is read, nor a diagonal of ones.
    void pack_square(T* to, std::int64_t width, const Matrix& a, std::int64_t first, std::int64_t rows,
                     bool down) const {
        const T* const from = static_cast<const T*>(block(a, first, first, 0, 0).data);
        for (std::int64_t k = 0; k < rows; ++k, to += width) {
            std::fill_n(to, kSquareRows, T(0));
            for (std::int64_t i = down ? 0 : k + 1; i < (down ? k : rows); ++i)
                to[i] = from[i * a.row_stride + k * a.column_stride];
            to[k] = unit_ ? T(1) : from[k * (a.row_stride + a.column_stride)];
        }
    }

    void pack(std::int64_t panel, std::int64_t width, bool down, T* to) const {
        const Matrix a = down ? reverse(a_) : a_;
        const std::int64_t before = panel * width, count = std::min(width, n_ - before),
                           first = down ? n_ - before - count : before;
        T* const square = down ? to : to + before * width;
        pack_columns(down ? to + count * width : to, width, a, first, down ? first + count : 0, count, before);
        for (std::int64_t i = 0; i < count; i += kSquareRows) {
            const std::int64_t rows = std::min(kSquareRows, count - i), from = down ? i + rows : 0;
            pack_columns(square + from * width + i, width, a, first + i, first + from, rows, down ? count - from : i);
            pack_square(square + i * (width + 1), width, a, first + i, rows, down);
        }
    }

    void pack_all(std::int64_t width, bool down, T* to) const {
        const auto some = [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) pack(i, width, down, to + packed_before(i, width));
        };
        parallel_for(panels(width), std::max<std::int64_t>(1, kTaskWork / (n_ * width)), some, Pieces::unlike);
    }

    // --- elements of B's columns are adjacent: vectors along the rows of A ---

    void along_rows() const {
        const bool down = b_.row_stride < 0;
        const std::int64_t panels = this->panels(kWidth);
        const dense::Scratch room(static_cast<std::size_t>(packed_before(panels, kWidth) * kSize));
        T* const packed = reinterpret_cast<T*>(room.data());
        pack_all(kWidth, down, packed);
        const std::int64_t tasks = dense::ceil_div(b_.columns, dense::kPanelRows);
        parallel_for(
            tasks, std::max<std::int64_t>(1, kTaskWork / (work() * dense::kPanelRows)),
            [&](std::int64_t begin, std::int64_t end) {
                const FloatEnvironment environment(Subnormals::keep);
                const dense::Range columns{begin * dense::kPanelRows, std::min(end * dense::kPanelRows, b_.columns)};
                // As many panels at a time as stay in L2, the last ones first.
                for (std::int64_t last = panels; last > 0;) {
                    std::int64_t some = last - 1;
                    const std::int64_t most = caches().l2 / kPackedPartOfL2 / kSize;
                    while (some > 0 && packed_before(last, kWidth) - packed_before(some - 1, kWidth) <= most) --some;
                    for (std::int64_t j = columns.begin; j < columns.end; j += dense::kPanelRows)
                        for (std::int64_t i = last - 1; i >= some; --i)
                            multiply(packed + packed_before(i, kWidth), i, down, j,
                                     std::min(dense::kPanelRows, columns.end - j));
                    last = some;
                }
            });
    }

    void multiply(const T* packed, std::int64_t panel, bool down, std::int64_t column, std::int64_t columns) const {
        const std::int64_t before = panel * kWidth, count = std::min(kWidth, n_ - before);
        T* const b = static_cast<T*>(b_.data) + column * b_.column_stride;
        kernels_.multiply_columns({columns, before, count, packed + (down ? (before + count - 1) * kWidth : 0),
                                   down ? -kWidth : kWidth, b, b_.row_stride,
                                   down ? b - (before + count - 1) : b + before, b_.column_stride, alpha_, down});
    }

    // --- otherwise: vectors along the columns of B, a strip of which is copied ---

    /// Whether A is read in place: its elements that are needed together are not pages apart, or it is small and read
    /// once.
    bool stays() const {
        return std::abs(a_.column_stride) == 1 || columns_are_near(a_, kSize) ||
               (std::abs(a_.row_stride) == 1 && a_.column_stride != 0 && n_ <= kTriangleRows && b_.columns <= kWidth);
    }

    void along_columns() const {
        std::optional<dense::Scratch> room;
        if (!stays()) {
            room.emplace(static_cast<std::size_t>(packed_before(panels(kBroadcastRows), kBroadcastRows) * kSize));
            pack_all(kBroadcastRows, a_.row_stride < 0, reinterpret_cast<T*>(room->data()));
        }
        const T* const packed = room ? reinterpret_cast<const T*>(room->data()) : nullptr;
        const std::int64_t strips = dense::ceil_div(b_.columns, kWidth);
        parallel_for(strips, std::max<std::int64_t>(1, kTaskWork / (work() * kWidth)), [&](auto begin, auto end) {
            const FloatEnvironment environment(Subnormals::keep);
            const dense::Scratch copy(static_cast<std::size_t>(n_ * kPitch * kSize));
            for (std::int64_t i = begin; i < end; ++i)
                multiply(packed, block(b_, 0, i * kWidth, n_, std::min(kWidth, b_.columns - i * kWidth)),
                         reinterpret_cast<T*>(copy.data()));
        });
    }

    /// Element k of row `row` + i of A is at data[k * step + i * next].
    struct RowsOfA {
        const T* data;
        std::int64_t step, next;
    };
    RowsOfA rows_of_a(const T* packed, std::int64_t row) const {
        if (!packed) return {static_cast<const T*>(block(a_, row, 0, 0, 0).data), a_.column_stride, a_.row_stride};
        const std::int64_t panel = row / kBroadcastRows, before = panel * kBroadcastRows,
                           end = std::min(before + kBroadcastRows, n_);
        packed += packed_before(panel, kBroadcastRows);
        if (a_.row_stride < 0) return {packed + (end - 1) * kBroadcastRows + (end - 1 - row), -kBroadcastRows, -1};
        return {packed + (row - before), kBroadcastRows, 1};
    }

    void multiply(const T* packed, const Matrix& strip, T* tile) const {
        const bool stays = strip.column_stride == 1 && strip.columns == kWidth;
        move_tile<true>(kernels_, strip, tile, kWidth, kPitch);
        T* const c = stays ? static_cast<T*>(strip.data) : tile;
        const std::int64_t step = stays ? strip.row_stride : kPitch, last = (n_ - 1) / dense::kPanelRows;
        for (std::int64_t i = last * dense::kPanelRows; i >= 0; i -= dense::kPanelRows) {
            const RowsOfA a = rows_of_a(packed, i);
            kernels_.multiply_rows({std::min(dense::kPanelRows, n_ - i), i, strip.columns, a.data, a.step, a.next, tile,
                                    kPitch, c + i * step, step, alpha_, unit_});
        }
        if (!stays) move_tile<false>(kernels_, strip, tile, kWidth, kPitch);
    }

    const dense::TriangularKernels<T>& kernels_;
    const std::int64_t n_;
    const Matrix a_, b_;
    const T alpha_;
    const bool unit_;
};

/// Rows up to which a narrow B is computed in tiles, as a wide one is.
constexpr std::int64_t kTiledRows = 64;

/// Whether rows of B, adjacent in memory, are so short that they would leave much of a tile empty.
template <class T>
bool is_narrow(const Problem& p) {
    return !columns_run(p.b) && p.b.column_stride == 1 && p.b.columns < dense::kPanelWidth<T> && p.a.rows > kTiledRows;
}

/// Calls run(problem) for a copy of B whose columns are adjacent, and copies it back.
template <class T, class F>
void with_columns(const Problem& p, F run) {
    const dense::TriangularKernels<T>& kernels = dense::triangular_kernels<T>();
    constexpr std::int64_t kLine = 64 / std::int64_t{sizeof(T)};
    const std::int64_t n = p.b.rows, columns = p.b.columns, pitch = (dense::ceil_div(n, kLine) + 1) * kLine;
    const dense::Scratch room(static_cast<std::size_t>(columns * pitch) * sizeof(T));
    // In the order of memory, so that rows of A need not be reversed either.
    const Matrix b = p.reversed ? reverse_rows(p.b) : p.b;
    T *const to = reinterpret_cast<T*>(room.data()), *const from = static_cast<T*>(b.data);
    Problem copied = p;
    copied.b.data = to, copied.b.row_stride = 1, copied.b.column_stride = pitch;
    if (p.reversed) copied.b = reverse_rows(copied.b);
    kernels.load(to, pitch, from, columns, n, b.row_stride, false);
    run(copied);
    kernels.store(to, pitch, from, columns, n, b.row_stride, false);
}

/// From the last block to the first, so that products read the original values of the rows before. Where rows of B are
/// packed, they serve all blocks after them at once.
template <class T>
void multiply_slice(const Problem& p, double alpha) {
    const std::int64_t n = p.a.rows;
    const bool runs = columns_run(p.b);
    for (std::int64_t i = (n - 1) / kProductRows * kProductRows; i >= 0; i -= kProductRows) {
        const std::int64_t rows = std::min(kProductRows, n - i), after = n - i - rows;
        if (!runs && after > 0) add_product(p, i + rows, after, i, rows, alpha, 1);
        SquareProduct<T>(p, i, rows, alpha).run();
        for (std::int64_t j = i - kProductRows; runs && j >= 0; j -= kProductRows)
            add_product(p, i, rows, j, kProductRows, alpha, 1);
    }
}

/// The columns of B that pass at a time: with a fast last level, so many that a block of their rows stays there, if
/// this is what products add to again and again (Zen 5, float64: 3072 and 4096 rows take 0.96 of the time; with slices
/// of the other layout, 2048 rows 1.00).
template <class T>
std::int64_t slice_columns(const Problem& p) {
    constexpr std::int64_t kPartOfL3 = 8, kUnit = 4 * dense::kPanelWidth<T>;
    if (caches().large_l2() || !columns_run(p.b)) return p.b.columns;
    const std::int64_t most = caches().l3_of_one_core() / kPartOfL3 / (kProductRows * std::int64_t{sizeof(T)}),
                       slices = dense::ceil_div(p.b.columns, std::max(most, kUnit));
    return dense::ceil_div(dense::ceil_div(p.b.columns, slices), kUnit) * kUnit;
}

template <class T>
void multiply(const Problem& p, double alpha) {
    const std::int64_t columns = p.b.columns, some = slice_columns<T>(p);
    for (std::int64_t first = 0; first < columns; first += some) {
        Problem slice = p;
        slice.b = block(p.b, 0, first, p.b.rows, std::min(some, columns - first));
        multiply_slice<T>(slice, alpha);
    }
}

}  // namespace
}  // namespace tenon::product
