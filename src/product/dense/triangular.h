// The innermost steps of trmm and trsm: products of some rows with a triangle, and systems on dense tiles.
#pragma once

#include <cstdint>

#include "product/dense/kernels.h"

namespace tenon::product::dense {

/// The most rows of a triangle. Part of the order law (tenon/product.h).
inline constexpr std::int64_t kTriangleRows = 64;
/// Bytes of a row of a tile of B; and the most bytes that a kernel takes of it.
inline constexpr std::int64_t kTileBytes = 512, kKernelBytes = kTileBytes / 2;

/// Rows of a triangle are stored in groups, adjacent, column after column: element k of row i is at a[i /
/// kTriangleGroup * kTriangleGroup * kTriangleRows + k * kTriangleGroup + i % kTriangleGroup].
inline constexpr std::int64_t kTriangleGroup = 4;

/// Rows of a tile that a system has solved before, and what they are multiplied by: `k` rows from `b`, `pitch` elements
/// apart; element k of row i of A is at a[k * a_step + i * a_row], where a_row is 1 or -1.
template <class T>
struct EarlierRows {
    const T *a, *b;
    std::int64_t k, a_step, a_row, pitch;
};

/// Memory that is used next: `count` runs of `length` elements, `step` elements apart.
template <class T>
struct PrefetchedRuns {
    const T* data;
    std::int64_t count, length, step;
};

/// The lower triangle `a`, in groups of rows, and `n` rows of a tile, `pitch` elements apart (negative: upwards in
/// memory). Columns beyond `columns` may be computed too, up to a multiple of kKernelBytes. `inverses`, where the
/// diagonal is not all ones: the reciprocals of its elements, or 0 where a quotient needs a division.
///
/// With `memory`, the rows, of kKernelBytes or a multiple, are there, `step` elements apart: right-hand sides are read
/// there, and results go there too; the tile is then only scratch. With `earlier` rows, a system subtracts from each
/// right-hand side, times alpha, its sum of products with them before it solves.
template <class T>
struct TriangularTile {
    const T *a, *inverses;
    T* b;
    std::int64_t n, columns;
    double alpha;
    bool unit;
    T* memory = nullptr;
    std::int64_t step = 0;
    std::int64_t pitch = kTileBytes / std::int64_t{sizeof(T)};
    EarlierRows<T> earlier{};
    PrefetchedRuns<T> next{};
};

/// If no exponent is extreme, a quotient is computed from the divisor's reciprocal without a rounding of its own: q = x
/// (1 / d), corrected by the remainder x - q d, which is exact (Markstein 1990; Brisebarre, Muller and Raina,
/// 10.1109/TC.2004.37: one multiplication and two fused multiply-adds give the bits of a division).
/// The largest exponent of divisors, and of remainders, for which this holds.
/// A dividend's exponent is not extreme if the first two bits of it as it is stored differ: 2^-63 <= |x| < 2^65, 2^-511
/// <= |x| < 2^513.
template <class T>
inline constexpr int kDivisorExponent = sizeof(T) == 4 ? 40 : 400;

/// 2^e, from constants only: code in a header of kernels would be compiled for the widest CPU.
template <class T>
consteval T power_of_two(int e) {
    T x = 1;
    for (; e > 0; --e) x *= 2;
    for (; e < 0; ++e) x /= 2;
    return x;
}

/// Rows of a product that a kernel takes as one panel.
inline constexpr std::int64_t kPanelRows = 6;

/// At most kPanelRows rows of C from A and a tile B: one chain for each element, k ascending. Element k of row i of A
/// is at a[k * a_step + i]. Columns beyond `columns` may be computed too, up to a multiple of kKernelBytes.
template <class T>
struct TriangularPanel {
    std::int64_t rows, k, columns;
    const T* a;
    std::int64_t a_step;
    const T* b;
    std::int64_t pitch;
    T* c;
    std::int64_t step;
    Write write;
};

/// At most kPanelRows rows of a lower triangle times a tile B, vectors along B's columns. Row i has the elements k <
/// before + i and, at k = before + i, the diagonal: one chain for each element of the product, k ascending, times
/// alpha. Element k of row i of A is at a[k * a_step + i * a_row]; row k of B is at b + k * pitch, and may be C's.
/// Columns beyond `columns` may be computed too, up to a multiple of kKernelBytes.
template <class T>
struct ProductRows {
    std::int64_t rows, before, columns;
    const T* a;
    std::int64_t a_step, a_row;
    const T* b;
    std::int64_t pitch;
    T* c;
    std::int64_t step;
    T alpha;
    bool unit;
};

/// Rows of a packed panel of a triangle.
template <class T>
inline constexpr std::int64_t kPanelWidth = kKernelBytes / std::int64_t{sizeof(T)};

/// `count` rows of a lower triangle, at most kPanelWidth, times at most kPanelRows columns of B: the same chains,
/// vectors along the rows of A. These are packed: column k of them is at a + k * a_step, k < before + count, a vector
/// of anything finite where the triangle ends within it; a diagonal of ones is there. Element k of column i of B is at
/// b[k * b_step + i * line]; in C, the elements of one column are adjacent. `down`: vectors hold the rows from the last
/// to the first.
template <class T>
struct ProductColumns {
    std::int64_t columns, before, count;
    const T* a;
    std::int64_t a_step;
    const T* b;
    std::int64_t b_step;
    T* c;
    std::int64_t line;
    T alpha;
    bool down;
};

template <class T>
struct TriangularKernels {
    void (*multiply_rows)(const ProductRows<T>&);
    void (*multiply_columns)(const ProductColumns<T>&);
    void (*solve)(const TriangularTile<T>&);
    void (*panel)(const TriangularPanel<T>&);
    /// c[i] = fma(alpha, sums[i], beta * c[i]) for i < n, a multiple of a vector.
    void (*scale)(const T* sums, T* c, std::int64_t n, T alpha, T beta);
    /// `count` columns of memory, `step` elements apart, each of `rows` elements, to the rows of a tile or back: in
    /// memory's order or, `down`, from the last to the first. What a tile has beyond the columns, up to a vector, is
    /// ones.
    void (*load)(T* tile, std::int64_t pitch, T* columns, std::int64_t rows, std::int64_t count, std::int64_t step,
                 bool down);
    void (*store)(T* tile, std::int64_t pitch, T* columns, std::int64_t rows, std::int64_t count, std::int64_t step,
                  bool down);
    /// Copies `rows` runs of `count` elements, prefetching each.
    void (*copy)(T* to, std::int64_t to_step, const T* from, std::int64_t from_step, std::int64_t rows,
                 std::int64_t count);
};

struct IsaTriangular {
    TriangularKernels<float> f32;
    TriangularKernels<double> f64;
};

/// The kernels of the instruction set in use, for float or double.
template <class T>
const TriangularKernels<T>& triangular_kernels();

// clang-format off
namespace baseline { extern const IsaTriangular kTriangular; }
namespace avx2 { extern const IsaTriangular kTriangular; }
namespace avx512 { extern const IsaTriangular kTriangular; }
namespace neon { extern const IsaTriangular kTriangular; }
// clang-format on

}  // namespace tenon::product::dense
