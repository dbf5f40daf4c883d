// What the ways of triangular products and systems share: the problem, rearranged so that a lower triangle is on the
// left, and copies of its parts.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/parallel.h"
#include "product/dense/blocked.h"
#include "product/dense/scratch.h"
#include "product/dense/triangular.h"
#include "product/float_environment.h"
#include "product/matrices.h"

namespace tenon::product {
namespace {

using dense::kKernelBytes;
using dense::kTileBytes;
using dense::kTriangleRows;

/// Multiply-adds below which a tile is not worth a thread.
constexpr std::int64_t kTaskWork = 1 << 18;

/// Calls f with a value of B's type.
template <class F>
void with_type(DType t, F f) {
    if (t == DType::float32)
        f(float{});
    else
        f(double{});
}

Matrix reverse_rows(const Matrix& m) {
    Matrix r = block(m, m.rows - 1, 0, m.rows, m.columns);
    r.row_stride = -m.row_stride;
    return r;
}
Matrix reverse(const Matrix& m) { return reverse_rows(reverse_rows(m).transpose()).transpose(); }

/// A lower triangle on the left of B. `reversed`: rows and columns are counted from the last. `tile`: B is one tile,
/// whatever its number of rows. Products of blocks off the diagonal read A from `blocks`.
struct Problem {
    Matrix a, b;
    bool unit, reversed, tile = false;
    Matrix blocks = a;
};

Problem lower_left(Side side, Triangle triangle, Diagonal diagonal, const Matrix& a, const Matrix& b) {
    // The transpose of a lower triangle is an upper one.
    const bool reversed = (triangle == Triangle::upper) == (side == Side::left);
    Problem p{a, b, diagonal == Diagonal::unit, reversed};
    if (side == Side::right) p.a = a.transpose(), p.b = b.transpose();
    if (reversed) p.a = reverse(p.a), p.b = reverse_rows(p.b);
    p.blocks = p.a;
    return p;
}

/// B's rows from `to` = alpha A's `rows` rows from there and `count` columns from `from` times B's rows from `from` +
/// beta times what they were. Rows and columns are counted from the first again, because kernels are faster with
/// strides of 1 than of -1.
inline void add_product(const Problem& p, std::int64_t to, std::int64_t rows, std::int64_t from, std::int64_t count,
                        double alpha, double beta) {
    Matrix a = block(p.blocks, to, from, rows, count), x = block(p.b, from, 0, count, p.b.columns),
           y = block(p.b, to, 0, rows, p.b.columns);
    if (p.reversed) a = reverse(a), x = reverse_rows(x), y = reverse_rows(y);
    gemm(a, x, y, {.alpha = alpha, .beta = beta});
}

/// The most bytes between columns of an A that is read in place, if its rows are adjacent: with columns farther apart,
/// a sum would read more pages than the TLB holds.
constexpr std::int64_t kInPlaceStep = 2048;

/// Whether that holds for A. Kernels end at the address where a row of A ends, so its columns have a stride.
inline bool columns_are_near(const Matrix& a, std::int64_t size) {
    return std::abs(a.row_stride) == 1 && a.column_stride != 0 && std::abs(a.column_stride) * size <= kInPlaceStep;
}

std::int64_t half(std::int64_t n) { return (n / 2 + kTriangleRows - 1) / kTriangleRows * kTriangleRows; }

/// Copies rows of a matrix one after the other, with the packing of products.
template <class T>
void pack_across(T* to, std::int64_t step, const dense::PackSource& source) {
    const dense::IsaKernels& kernels = dense::kernels_of(isa());
    if constexpr (sizeof(T) == 4)
        kernels.u32.across[0](reinterpret_cast<std::uint32_t*>(to), step, source);
    else
        kernels.u64.across[0](reinterpret_cast<std::uint64_t*>(to), step, source);
}

/// Calls f(i, j, n) for runs of elements (i, j), ..., (i, j + n - 1) that cover B: so few columns at a time that their
/// cache lines stay until the next rows have used them too.
template <class F>
void for_each_run(const Matrix& b, F f) {
    constexpr std::int64_t kFew = 8;
    for (std::int64_t j = 0; j < b.columns; j += kFew)
        for (std::int64_t i = 0; i < b.rows; ++i) f(i, j, std::min(kFew, b.columns - j));
}

/// What a tile holds beyond B's columns, as far as kernels compute: ones, which are divided like other numbers
/// (TriangularTile).
template <class T>
void fill_beyond(const dense::TriangularKernels<T>& kernels, std::int64_t rows, std::int64_t columns, T* tile,
                 std::int64_t pitch) {
    constexpr std::int64_t n = kKernelBytes / std::int64_t{sizeof(T)};
    static constexpr auto kOnes = [] {
        std::array<T, n> ones{};
        for (T& one : ones) one = 1;
        return ones;
    }();
    if (columns % n != 0) kernels.copy(tile + columns, pitch, kOnes.data(), 0, rows, n - columns % n);
}

/// Rows of B <-> a tile of `width` columns whose rows are `pitch` elements apart.
template <bool kIn, class T>
void move_tile(const dense::TriangularKernels<T>& kernels, const Matrix& b, T* tile, std::int64_t width,
               std::int64_t pitch) {
    if (kIn && b.columns < width) fill_beyond(kernels, b.rows, b.columns, tile, pitch);
    T* const data = static_cast<T*>(b.data);
    if (b.column_stride != 1 && std::abs(b.row_stride) == 1) {
        const bool down = b.row_stride < 0;
        const auto move = kIn ? kernels.load : kernels.store;
        return move(tile, pitch, down ? data - (b.rows - 1) : data, b.rows, b.columns, b.column_stride, down);
    }
    if (b.column_stride == 1) {
        if constexpr (kIn)
            return kernels.copy(tile, pitch, data, b.row_stride, b.rows, b.columns);
        else
            return kernels.copy(data, b.row_stride, tile, pitch, b.rows, b.columns);
    }
    for_each_run(b, [&](std::int64_t i, std::int64_t j, std::int64_t n) {
        T *there = data + i * b.row_stride + j * b.column_stride, *here = tile + i * pitch + j;
        for (std::int64_t e = 0; e < n; ++e)
            if constexpr (kIn)
                here[e] = there[e * b.column_stride];
            else
                there[e * b.column_stride] = here[e];
    });
}

/// Copies the triangle alone, in groups of rows (TriangularTile): nothing above the diagonal is read, nor the diagonal
/// itself if it is all ones.
template <class T>
void load_triangle(const Problem& p, std::int64_t first, std::int64_t n, T* triangle) {
    using dense::kTriangleGroup;
    static_assert(kTriangleGroup == 4);
    const Matrix a = block(p.a, first, first, n, n);
    const std::int64_t down = a.row_stride, right = a.column_stride;
    for (std::int64_t i = 0; i < n; i += kTriangleGroup) {
        T* const to = triangle + i * kTriangleRows;
        const T* const from = static_cast<const T*>(a.data) + i * down;
        const std::int64_t count = std::min(kTriangleGroup, n - i);
        if (count == kTriangleGroup) {
            // Four elements of a column, one by one if they are not adjacent: cheaper than transposing squares.
            const T* x = from;
            if (down == 1)
#pragma GCC unroll 4
                for (T* four = to; four != to + i * kTriangleGroup; four += kTriangleGroup, x += right)
                    std::memcpy(four, x, sizeof(T) * kTriangleGroup);
            else
                for (T* four = to; four != to + i * kTriangleGroup; four += kTriangleGroup, x += right)
                    four[0] = x[0], four[1] = x[down], four[2] = x[2 * down], four[3] = x[3 * down];
        }
        for (std::int64_t r = 0; r < count; ++r)
            for (std::int64_t j = count == kTriangleGroup ? i : 0; j < i + r + (p.unit ? 0 : 1); ++j)
                to[j * kTriangleGroup + r] = from[r * down + j * right];
    }
}

/// The inverses for the diagonal of a triangle of `n` rows that was loaded (TriangularTile).
template <class T>
void invert_diagonal(const T* triangle, std::int64_t n, T* inverses) {
    using dense::kTriangleGroup;
    constexpr T kLow = dense::power_of_two<T>(-dense::kDivisorExponent<T>),
                kHigh = dense::power_of_two<T>(dense::kDivisorExponent<T>);
    const FloatEnvironment environment(Subnormals::keep);
    for (std::int64_t i = 0; i < n; ++i) {
        const T d =
            triangle[i / kTriangleGroup * kTriangleGroup * kTriangleRows + i * kTriangleGroup + i % kTriangleGroup];
        const T size = std::abs(d);
        inverses[i] = size >= kLow && size <= kHigh ? 1 / d : 0;
    }
}

/// Elements whose copying is worth a thread.
constexpr std::int64_t kCopyGrain = 1 << 13;

/// Copies rows of A one after the other into `room`, as far as p.blocks is read: of row i the first columns_of(i). Done
/// once for all threads and steps.
template <class T, class F>
Matrix transposed(const Problem& p, const dense::Scratch& room, std::int64_t pitch, F columns_of) {
    const std::int64_t n = p.a.rows, blocks = (n - 1) / kTriangleRows;
    Matrix to = row_major(room.data(), p.a.dtype, n, n);
    to.row_stride = pitch;
    if (p.reversed) to = reverse(to);
    const auto some = [&](std::int64_t begin, std::int64_t end) {
        dense::Scratch offsets(static_cast<std::size_t>(n) * 8);
        auto* const columns = offsets.take<std::int64_t>(n);
        std::int64_t rows[kTriangleRows];
        for (std::int64_t i = (begin + 1) * kTriangleRows; i < std::min((end + 1) * kTriangleRows, n);
             i += kTriangleRows) {
            const std::int64_t count = std::min(kTriangleRows, n - i), before = columns_of(i);
            if (before == 0) continue;
            Matrix from = block(p.a, i, 0, count, before), there = block(to, i, 0, count, before);
            if (p.reversed) from = reverse(from), there = reverse(there);
            for (std::int64_t r = 0; r < count; ++r) rows[r] = r * from.row_stride;
            for (std::int64_t j = 0; j < before; ++j) columns[j] = j * from.column_stride;
            pack_across(static_cast<T*>(there.data), pitch, {from.data, columns, rows, before, count});
        }
    };
    parallel_for(blocks, std::max<std::int64_t>(1, kCopyGrain / (n * kTriangleRows)), some, Pieces::unlike);
    return to;
}

}  // namespace
}  // namespace tenon::product
