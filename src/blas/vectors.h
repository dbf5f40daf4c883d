// The loops over vectors of which levels 1 and 2 consist, compiled once for each instruction set. Increments count
// elements and may be negative or 0; pointers are to element 0, not to the lowest address.
//
// What is computed element by element is one rounding an operation as written here. A sum has lanes: element i of a
// real vector belongs to lane i % kLanes<T> (of a complex one, both its parts to lane 2 i % kLanes<Real>), a lane is
// one chain of fused multiply-adds or additions from +0, and lanes are added in halves: lane j and lane j + half, until
// one is left.
#pragma once

#include "blas/scalar.h"

namespace tenon::blas {

/// The lanes of a sum, for a real type: 256 bytes.
template <class R>
inline constexpr int kLanes = 256 / int{sizeof(R)};

/// The lanes of a sum if several vectors are summed together: 64 bytes.
template <class R>
inline constexpr int kNarrowLanes = 64 / int{sizeof(R)};
/// The most vectors that are summed together, and that a rank-1 update takes.
inline constexpr int kTogether = 8, kUpdated = 4;

/// Columns from `column` of a triangle of order n: column c has the rows first[c], ..., first[c] + count[c] - 1 at
/// rest[c], and the diagonal's element separately. The rows of a later column begin no earlier and end no earlier.
template <class T>
struct TriangleColumns {
    std::int64_t n, column;
    const T *rest[kTogether], *diagonal[kTogether];
    std::int64_t first[kTogether], count[kTogether];
};

template <class T>
struct Vectors {
    using R = typename Traits<T>::Real;

    /// y <- fma(alpha, x, y).
    void (*axpy)(std::int64_t n, T alpha, const T* x, std::int64_t incx, T* y, std::int64_t incy);
    /// kUpdated columns of a matrix, `step` elements apart: column c <- fma(factors[c], x, column c).
    void (*axpy_columns)(std::int64_t n, const T* factors, const T* x, T* columns, std::int64_t step);
    /// The sum of x y, or of conj(x) y.
    T (*dot)(std::int64_t n, const T* x, std::int64_t incx, const T* y, std::int64_t incy, bool conjugate);
    /// As many columns of a symmetric or Hermitian matrix, of which one triangle is stored, for themselves and for the
    /// rows that they represent: y <- fma(factors[c], column c, y), one after the other; then y[column + c] receives
    /// alpha times the diagonal's element and the sum of conj(column c) x. In one pass.
    void (*symmetric[kTogether])(const TriangleColumns<T>& a, T alpha, const T* factors, const T* x, T* y);
    /// The sums of this many contiguous vectors a[c] times x, or of conj(a[c]) x, in one pass, with kNarrowLanes.
    void (*dots[kTogether])(std::int64_t n, const T* const* a, const T* x, bool conjugate, T* sums);
    /// x <- alpha x.
    void (*scal)(std::int64_t n, T alpha, T* x, std::int64_t incx);
    /// x <- alpha x, alpha real.
    void (*scal_real)(std::int64_t n, R alpha, T* x, std::int64_t incx);
    void (*swap)(std::int64_t n, T* x, std::int64_t incx, T* y, std::int64_t incy);
    void (*copy)(std::int64_t n, const T* x, std::int64_t incx, T* y, std::int64_t incy);
    /// (x, y) <- (fma(c, x, s y), fma(c, y, -s x)).
    void (*rot)(std::int64_t n, T* x, std::int64_t incx, T* y, std::int64_t incy, R c, R s);
    /// The sum of |x|; for complex numbers, of |re| + |im|.
    R (*asum)(std::int64_t n, const T* x, std::int64_t incx);
    /// The sum of squares of x times `scale`, in float64.
    double (*sum_of_squares)(std::int64_t n, double scale, const T* x, std::int64_t incx);
    /// The index of the first element whose magnitude, as in asum, is largest; NaN never compares as larger, but counts
    /// if it is first.
    std::int64_t (*iamax)(std::int64_t n, const T* x, std::int64_t incx);
};

/// The sum of products of float32 numbers in float64, lanes as for float64.
using MixedDot = double (*)(std::int64_t n, const float* x, std::int64_t incx, const float* y, std::int64_t incy);
/// y <- fma(factors[c], column c, y), one column after the other, of `count` columns with n elements, `step` elements
/// apart.
template <class R>
using AddColumns = void (*)(std::int64_t n, std::int64_t count, const R* columns, std::int64_t step, const R* factors,
                            R* y);
/// (x, y) <- (h11 x + h12 y, h21 x + h22 y), as fma(h11, x, h12 y).
template <class R>
using Rotm = void (*)(std::int64_t n, R* x, std::int64_t incx, R* y, std::int64_t incy, const R (&h)[4]);

struct IsaVectors {
    Vectors<float> s;
    Vectors<double> d;
    Vectors<Complex<float>> c;
    Vectors<Complex<double>> z;
    MixedDot mixed_dot;
    Rotm<float> srotm;
    Rotm<double> drotm;
    AddColumns<float> sadd_columns;
    AddColumns<double> dadd_columns;

    template <class T>
    const Vectors<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return s;
        else if constexpr (sizeof(T) == 16)
            return z;
        else if constexpr (Traits<T>::kComplex)
            return c;
        else
            return d;
    }
};

/// For an instruction set: the loops that leave the prefetch of columns to the hardware, and those that prefetch them.
// clang-format off
namespace baseline { extern const IsaVectors kVectors[2]; }
namespace avx2 { extern const IsaVectors kVectors[2]; }
namespace avx512 { extern const IsaVectors kVectors[2]; }
namespace neon { extern const IsaVectors kVectors[2]; }
// clang-format on

/// The loops of the instruction set in use, for a matrix of this many bytes and the machine's caches: the bits are the
/// same.
const IsaVectors& vectors(std::int64_t bytes = 0);
/// Those that prefetch, for columns in the last level that are updated one after the other.
const IsaVectors& fetching_vectors();

}  // namespace tenon::blas
