// Small triangular products and systems on dense tiles: the innermost step of trmm and trsm.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// Most rows of a triangle. Part of the order law (tenon/product.h).
inline constexpr std::int64_t kTriangleRows = 64;
/// A row of a tile of B, and what no kernel is wider than.
inline constexpr std::int64_t kTileBytes = 512, kKernelBytes = kTileBytes / 2;

/// The lower triangle `a`, rows kTriangleRows apart, and `n` rows of a tile, kTileBytes apart. Columns beyond `columns`
/// may be computed too, up to the end of the tile. `inverses`, of a system whose diagonal is not of ones, are the
/// reciprocals of its elements, or 0 where quotients want a division.
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
};

/// Where a quotient's exponent is no extreme one, it is had from the divisor's reciprocal without a rounding of its
/// own: q = x (1 / d), and of the remainder x - q d, which is exact, the quotient is added (Markstein 1990; Brisebarre,
/// Muller and Raina, 10.1109/TC.2004.37: one multiplication and two fused multiply-adds give the bits of division).
/// Exponents of divisors and of dividends up to which that is so: of remainders too.
template <class T>
inline constexpr int kDivisorExponent = sizeof(T) == 4 ? 40 : 400;
template <class T>
inline constexpr int kDividendExponent = sizeof(T) == 4 ? 80 : 500;

/// 2^e. Of constants alone: code in a header of kernels would be compiled for the widest CPU.
template <class T>
consteval T power_of_two(int e) {
    T x = 1;
    for (; e > 0; --e) x *= 2;
    for (; e < 0; ++e) x /= 2;
    return x;
}

template <class T>
struct TriangularKernels {
    void (*multiply)(const TriangularTile<T>&);
    void (*solve)(const TriangularTile<T>&);
    /// `count` columns of memory, `step` elements apart, each of `rows` elements, to the rows of a tile or back: in
    /// memory's order or, `down`, from the last to the first. What a tile has beyond the columns, up to a vector, is
    /// zeros.
    void (*load)(T* tile, T* columns, std::int64_t rows, std::int64_t count, std::int64_t step, bool down);
    void (*store)(T* tile, T* columns, std::int64_t rows, std::int64_t count, std::int64_t step, bool down);
    /// `rows` runs of `count` elements from one place to another, each fetched ahead.
    void (*copy)(T* to, std::int64_t to_step, const T* from, std::int64_t from_step, std::int64_t rows,
                 std::int64_t count);
};

struct IsaTriangular {
    TriangularKernels<float> f32;
    TriangularKernels<double> f64;
};

// clang-format off
namespace baseline { extern const IsaTriangular kTriangular; }
namespace avx2 { extern const IsaTriangular kTriangular; }
namespace avx512 { extern const IsaTriangular kTriangular; }
namespace neon { extern const IsaTriangular kTriangular; }
// clang-format on

}  // namespace tenon::product::dense
