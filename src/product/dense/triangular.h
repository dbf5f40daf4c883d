// Small triangular products and systems on dense tiles: the innermost step of trmm and trsm.
#pragma once

#include <cstdint>

#include "product/dense/kernels.h"

namespace tenon::product::dense {

/// Most rows of a triangle. Part of the order law (tenon/product.h).
inline constexpr std::int64_t kTriangleRows = 64;
/// A row of a tile of B, and what no kernel is wider than.
inline constexpr std::int64_t kTileBytes = 512, kKernelBytes = kTileBytes / 2;

/// Rows of a triangle that lie side by side, column after column: element k of row i is at
/// a[i / kTriangleGroup * kTriangleGroup * kTriangleRows + k * kTriangleGroup + i % kTriangleGroup].
inline constexpr std::int64_t kTriangleGroup = 4;

/// The lower triangle `a`, in groups of rows, and `n` rows of a tile, `pitch` elements apart (less than 0: upwards
/// in memory). Columns beyond `columns` may be computed too, up to a multiple of kKernelBytes. `inverses`, of a system
/// whose diagonal is not of ones, are the reciprocals of its elements, or 0 where quotients want a division.
///
/// With `memory`, rows of kKernelBytes or a multiple, `step` elements apart, lie there: results go there and not to the
/// tile, and a system reads its right sides there, where the tile is no more than room.
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
};

/// Where a quotient's exponent is no extreme one, it is had from the divisor's reciprocal without a rounding of its
/// own: q = x (1 / d), and of the remainder x - q d, which is exact, the quotient is added (Markstein 1990; Brisebarre,
/// Muller and Raina, 10.1109/TC.2004.37: one multiplication and two fused multiply-adds give the bits of division).
/// Exponents of divisors up to which that is so, of remainders too.
/// A dividend's is none where the first two bits of it as it is stored differ: 2^-63 <= |x| < 2^65, 2^-511 <= |x| <
/// 2^513.
template <class T>
inline constexpr int kDivisorExponent = sizeof(T) == 4 ? 40 : 400;

/// 2^e. Of constants alone: code in a header of kernels would be compiled for the widest CPU.
template <class T>
consteval T power_of_two(int e) {
    T x = 1;
    for (; e > 0; --e) x *= 2;
    for (; e < 0; ++e) x /= 2;
    return x;
}

/// Rows of a product of which a kernel takes a panel at a time.
inline constexpr std::int64_t kPanelRows = 6;

/// A few rows, at most kPanelRows, of C from A and a tile B: one chain an element, k ascending. Element k of row i of A
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
    std::int64_t next;  // elements from a row of C to what is wanted in L2 next; 0 for nothing
};

template <class T>
struct TriangularKernels {
    void (*multiply)(const TriangularTile<T>&);
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
    /// `rows` runs of `count` elements from one place to another, each fetched ahead.
    void (*copy)(T* to, std::int64_t to_step, const T* from, std::int64_t from_step, std::int64_t rows,
                 std::int64_t count);
};

struct IsaTriangular {
    TriangularKernels<float> f32;
    TriangularKernels<double> f64;
};

/// Those of the instruction set in use, of float or double.
template <class T>
const TriangularKernels<T>& triangular_kernels();

// clang-format off
namespace baseline { extern const IsaTriangular kTriangular; }
namespace avx2 { extern const IsaTriangular kTriangular; }
namespace avx512 { extern const IsaTriangular kTriangular; }
namespace neon { extern const IsaTriangular kTriangular; }
// clang-format on

}  // namespace tenon::product::dense
