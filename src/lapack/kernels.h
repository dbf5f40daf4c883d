// The loops outside BLAS in which factorizations spend their time, on matrices by columns, compiled once for each
// instruction set. Every element is one chain of fused multiply-adds in the stated order. A sum of products has lanes:
// row i belongs to lane i % kLanes<T>, a lane is one chain from +0, and lanes are added in halves.
#pragma once

#include <cstdint>

namespace tenon::lapack {

/// Columns that are factored together.
inline constexpr int kBlock = 8;
/// The most rows of a triangle that `cholesky` factors.
inline constexpr int kTriangle = 128;
/// The lanes of a sum: 64 bytes.
template <class T>
inline constexpr int kLanes = 64 / int{sizeof(T)};

/// For the secular equation: poles d and weights z of n elements, padded to a multiple of kLanes with infinite poles of
/// weight 0. The differences are those of the poles and origin + tau.
template <class T>
struct PolesAt {
    std::int64_t n, split;
    const T *d, *z;
    T origin, tau;
    T *minus, *plus;  // (d - origin) - tau; (d + origin) + tau, only for the equation in squares
};
/// The sums of z (z / D) and of (z / D)^2, with D = d - x or, in squares, (d - x) (d + x): over the first `split`
/// poles, and over the others.
template <class T>
struct PoleSums {
    T below, slope_below, above, slope_above;
};

/// Columns of A (m, n): y = tau (A^T u + taken), then t = known - y, then sums = A t.
template <class T>
struct BidiagonalPass {
    std::int64_t m, n;
    const T* a;
    std::int64_t lda;
    const T* u;
    T tau;
    const T *taken, *known;
    T *y, *t, *sums;
};

template <class T>
struct Kernels {
    /// C -= A B, C (m, n), A (m, k), the element (p, j) of B at b[p * row + j * column]: for each element of C,
    /// fma(-a, b, c) for p ascending.
    void (*subtract)(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b,
                     std::int64_t row, std::int64_t column, T* c, std::int64_t ldc);
    /// W = A^T B; W (k, n), A (m, k), B (m, n). Sums with lanes.
    void (*products)(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b,
                     std::int64_t ldb, T* w, std::int64_t ldw);
    /// The Cholesky factor in place of the lower triangle, n <= kTriangle; the part above is overwritten too. Each
    /// element is one chain, then multiplied by the reciprocal of the diagonal's. Returns 0, or i: the leading minor of
    /// order i is not positive.
    int (*cholesky)(int n, T* a, std::int64_t lda);
    /// P L U in place, m >= n, by columns from the left. Each element is one chain; those below the diagonal are then
    /// multiplied by the reciprocal of the pivot (divided by a pivot too small to have one). Row j was exchanged with
    /// pivots[j], counted from 1. Returns 0, or i: the first pivot that is zero; its column is left.
    int (*lu)(std::int64_t m, int n, T* a, std::int64_t lda, int* pivots);
    /// A is read once: each column's sum, with lanes, then its part in the chains of `sums`.
    void (*bidiagonal)(const BidiagonalPass<T>&);
    /// Sums with lanes, over the poles or their squares; the differences are stored.
    void (*poles)(const PolesAt<T>&, PoleSums<T>&);
    void (*squared_poles)(const PolesAt<T>&, PoleSums<T>&);
    /// w *= minus / (d - pole), or minus plus / ((d - pole) (d + pole)) if there is a plus.
    void (*multiply_ratios)(std::int64_t n, const T* minus, const T* plus, const T* d, T pole, T* w);
    /// x = w / minus, or w / (minus plus).
    void (*divide_by_poles)(std::int64_t n, const T* w, const T* minus, const T* plus, T* x);
};

struct IsaKernels {
    Kernels<float> s;
    Kernels<double> d;

    template <class T>
    const Kernels<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return s;
        else
            return d;
    }
};

// clang-format off
namespace baseline { extern const IsaKernels kKernels; }
namespace avx2 { extern const IsaKernels kKernels; }
namespace avx512 { extern const IsaKernels kKernels; }
namespace neon { extern const IsaKernels kKernels; }
// clang-format on

}  // namespace tenon::lapack
