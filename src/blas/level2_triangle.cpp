// Level 2 of matrices of which one triangle is stored: symmetric, Hermitian, triangular; full, packed or banded. Each
// is computed by columns, so that the storage decides only where a column lies.
#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "blas/contiguous.h"
#include "blas/level2.h"
#include "blas/vectors.h"

namespace tenon::blas {
namespace {

constexpr std::int64_t kGrain = 1 << 15;

/// The elements of a column off the diagonal, in rows first, ..., first + count - 1, and the one on the diagonal.
template <class T>
struct Column {
    T* rest;
    std::int64_t first, count;
    T* diagonal;
};

template <class T>
struct StoredTriangle {
    Storage storage;
    bool upper;
    T* data;
    std::int64_t n, ld, k;

    Column<T> column(std::int64_t j) const {
        if (upper) {
            const std::int64_t count = storage == Storage::band ? std::min(j, k) : j;
            T* diagonal = data + (storage == Storage::full     ? j * ld + j
                                  : storage == Storage::packed ? j * (j + 1) / 2 + j
                                                               : j * ld + k);
            return {diagonal - count, j - count, count, diagonal};
        }
        const std::int64_t below = n - 1 - j;
        T* diagonal = data + (storage == Storage::full     ? j * ld + j
                              : storage == Storage::packed ? j * n - j * (j - 1) / 2
                                                           : j * ld);
        return {diagonal + 1, j + 1, storage == Storage::band ? std::min(below, k) : below, diagonal};
    }
    Memory memory() const {
        if (storage == Storage::packed) return memory_of(data, n * (n + 1) / 2, 1);
        return memory_of(data, storage == Storage::band ? k + 1 : n, n, ld);
    }
    /// The size of the elements that are read.
    std::int64_t bytes() const {
        return (storage == Storage::band ? n * (k + 1) : n * (n + 1) / 2) * std::int64_t{sizeof(T)};
    }
};

template <class T>
T diagonal_of_hermitian(const T& element) {
    return of<T>(real_part(element));
}

/// y += alpha A x for some columns, kTogether of them in one pass. The order in which the elements of an upper triangle
/// are added depends on where the groups of columns begin, so groups are the same however many columns a pass takes.
template <class T>
void multiply_symmetric(const StoredTriangle<const T>& a, std::int64_t begin, std::int64_t end, T alpha, const T* x,
                        T* y) {
    const Vectors<T>& v = vectors(a.bytes()).template of<T>();
    for (std::int64_t j = begin; j < end; j += kTogether) {
        const auto count = static_cast<int>(std::min<std::int64_t>(kTogether, end - j));
        TriangleColumns<T> columns;
        columns.n = a.n, columns.column = j;
        T factors[kTogether];
        for (int c = 0; c < count; ++c) {
            const Column<const T> own = a.column(j + c);
            columns.rest[c] = own.rest, columns.first[c] = own.first, columns.count[c] = own.count;
            columns.diagonal[c] = own.diagonal;
            factors[c] = alpha * x[j + c];
        }
        v.symmetric[count - 1](columns, alpha, factors, x, y);
    }
}

/// A symmetric product of at least kSharedOrder rows is always divided into kShares shares, each with its own result,
/// whatever the number of threads.
constexpr std::int64_t kShares = 8, kSharedOrder = 512;

/// Where share i begins. The shares of a triangle have equal areas.
std::int64_t begin_of(std::int64_t share, std::int64_t n, bool upper) {
    const double part = static_cast<double>(share) / kShares;
    const double at = upper ? std::sqrt(part) : 1 - std::sqrt(1 - part);
    return share == kShares ? n : static_cast<std::int64_t>(at * static_cast<double>(n)) / kTogether * kTogether;
}

template <class T>
void multiply_symmetric(const StoredTriangle<const T>& a, T alpha, const T* x, T* y) {
    if (a.n < kSharedOrder) return multiply_symmetric(a, 0, a.n, alpha, x, y);
    product::dense::Scratch room(static_cast<std::size_t>(kShares * a.n) * sizeof(T));
    T* sums = room.take<T>(kShares * a.n);
    // The rows in which the columns of share i have elements.
    const auto first = [&](std::int64_t i) { return a.upper ? 0 : begin_of(i, a.n, false); };
    const auto last = [&](std::int64_t i) { return a.upper ? begin_of(i + 1, a.n, true) : a.n; };
    parallel_for(kShares, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            T* const own = sums + i * a.n;
            std::fill(own + first(i), own + last(i), of<T>(0));
            multiply_symmetric(a, begin_of(i, a.n, a.upper), begin_of(i + 1, a.n, a.upper), alpha, x, own);
        }
    });
    using R = Real<T>;
    constexpr std::int64_t kParts = kComplex<T> ? 2 : 1;
    for (std::int64_t i = 0; i < kShares; ++i)
        vectors().of<R>().axpy((last(i) - first(i)) * kParts, R(1),
                               reinterpret_cast<const R*>(sums + i * a.n + first(i)), 1,
                               reinterpret_cast<R*>(y + first(i)), 1);
}

/// Calls f(j) from the first column to the last, or back.
template <class F>
void for_columns(std::int64_t n, bool forwards, F f) {
    for (std::int64_t i = 0; i < n; ++i) f(forwards ? i : n - 1 - i);
}

/// x = A x or A^T x. The order of columns ensures that nothing is overwritten before it is read.
template <class T>
void multiply_triangular(const StoredTriangle<const T>& a, bool transposed, bool unit, T* x) {
    const Vectors<T>& v = vectors().of<T>();
    for_columns(a.n, a.upper != transposed, [&](std::int64_t j) {
        const Column<const T> c = a.column(j);
        const T own = unit ? x[j] : *c.diagonal * x[j];
        if (transposed) {
            x[j] = own + v.dot(c.count, c.rest, 1, x + c.first, 1, false);
        } else {
            v.axpy(c.count, x[j], c.rest, 1, x + c.first, 1);
            x[j] = own;
        }
    });
}

/// x = A^-1 x or A^-T x.
template <class T>
void solve_triangular(const StoredTriangle<const T>& a, bool transposed, bool unit, T* x) {
    const Vectors<T>& v = vectors().of<T>();
    for_columns(a.n, a.upper == transposed, [&](std::int64_t j) {
        const Column<const T> c = a.column(j);
        if (transposed) x[j] = x[j] + -v.dot(c.count, c.rest, 1, x + c.first, 1, false);
        if (!unit) x[j] = x[j] / *c.diagonal;
        if (!transposed) v.axpy(c.count, -x[j], c.rest, 1, x + c.first, 1);
    });
}

/// Calls f(column, j) for all columns, which share no elements.
template <class T, class F>
void update_columns(const StoredTriangle<T>& a, F f) {
    const auto some = [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t j = begin; j < end; ++j) f(a.column(j), j);
    };
    parallel_for(a.n, std::max<std::int64_t>(1, 2 * kGrain / a.n), some, Pieces::unlike);
}

bool rows_fit(Storage storage, std::int64_t lda, std::int64_t n, std::int64_t k) {
    return storage == Storage::packed || (storage == Storage::band ? lda >= k + 1 : holds_rows(lda, n));
}

template <class T>
using TriangularStep = void (*)(const StoredTriangle<const T>&, bool, bool, T*);

template <class T>
void triangular(const Caller& caller, Storage storage, char uplo, char trans, char diag, std::int64_t n, std::int64_t k,
                const T* a, std::int64_t lda, T* x, std::int64_t incx, TriangularStep<T> run) {
    const bool band = storage == Storage::band;
    if (!accepts(caller, {{1, uplo != 0},
                          {2, trans != 0},
                          {3, diag != 0},
                          {4, n >= 0},
                          {5, !band || k >= 0},
                          {band ? 7 : 6, rows_fit(storage, lda, n, k)},
                          {storage == Storage::full     ? 8
                           : storage == Storage::packed ? 7
                                                        : 9,
                           incx != 0}}))
        return;
    if (n == 0) return;
    const StoredTriangle<const T> matrix{storage, uplo == 'U', a, n, lda, k};
    const Updated<T> vector(of<T>(1), x, n, incx, kComplex<T> && conjugates(trans), matrix.memory());
    run(matrix, transposes(trans), diag == 'U', vector.data());
}

}  // namespace

template <class T>
void symv(const Caller& caller, Storage storage, char uplo, std::int64_t n, std::int64_t k, T alpha, const T* a,
          std::int64_t lda, const T* x, std::int64_t incx, T beta, T* y, std::int64_t incy) {
    const int shift = storage == Storage::full ? 0 : storage == Storage::packed ? -1 : 1;
    if (!accepts(caller, {{1, uplo != 0},
                          {2, n >= 0},
                          {3, storage != Storage::band || k >= 0},
                          {5 + shift, rows_fit(storage, lda, n, k)},
                          {7 + shift, incx != 0},
                          {10 + shift, incy != 0}}))
        return;
    if (n == 0 || (alpha == of<T>(0) && beta == of<T>(1))) return;
    const bool conjugate = kComplex<T> && caller.by_rows;
    if (alpha == of<T>(0)) {
        const Updated<T> scaled_alone(conj_if(conjugate, beta), y, n, incy, conjugate, {});
        return;
    }
    const StoredTriangle<const T> matrix{storage, uplo == 'U', a, n, lda, k};
    const Input<T> in(x, n, incx, conjugate, memory_of(y, n, incy));
    const Updated<T> out(conj_if(conjugate, beta), y, n, incy, conjugate, matrix.memory());
    multiply_symmetric<T>(matrix, conj_if(conjugate, alpha), in.data(), out.data());
}

template <class T>
void trmv(const Caller& caller, Storage storage, char uplo, char trans, char diag, std::int64_t n, std::int64_t k,
          const T* a, std::int64_t lda, T* x, std::int64_t incx) {
    triangular(caller, storage, uplo, trans, diag, n, k, a, lda, x, incx, multiply_triangular<T>);
}

template <class T>
void trsv(const Caller& caller, Storage storage, char uplo, char trans, char diag, std::int64_t n, std::int64_t k,
          const T* a, std::int64_t lda, T* x, std::int64_t incx) {
    triangular(caller, storage, uplo, trans, diag, n, k, a, lda, x, incx, solve_triangular<T>);
}

template <class T>
void syr(const Caller& caller, Storage storage, char uplo, std::int64_t n, Real<T> alpha, const T* x, std::int64_t incx,
         T* a, std::int64_t lda) {
    if (!accepts(caller, {{1, uplo != 0}, {2, n >= 0}, {5, incx != 0}, {7, rows_fit(storage, lda, n, 0)}})) return;
    if (n == 0 || alpha == 0) return;
    const StoredTriangle<T> matrix{storage, uplo == 'U', a, n, lda, 0};
    const Input<T> in(x, n, incx, kComplex<T> && caller.by_rows, matrix.memory());
    const T* v = in.data();
    const auto axpy = vectors().of<T>().axpy;
    update_columns<T>(matrix, [&](const Column<T>& c, std::int64_t j) {
        const T factor = of<T>(alpha) * conj(v[j]);
        axpy(c.count, factor, v + c.first, 1, c.rest, 1);
        *c.diagonal = diagonal_of_hermitian(fma(factor, v[j], *c.diagonal));
    });
}

template <class T>
void syr2(const Caller& caller, Storage storage, char uplo, std::int64_t n, T alpha, const T* x, std::int64_t incx,
          const T* y, std::int64_t incy, T* a, std::int64_t lda) {
    if (!accepts(caller,
                 {{1, uplo != 0}, {2, n >= 0}, {5, incx != 0}, {7, incy != 0}, {9, rows_fit(storage, lda, n, 0)}}))
        return;
    if (n == 0 || alpha == of<T>(0)) return;
    const bool conjugate = kComplex<T> && caller.by_rows;
    const StoredTriangle<T> matrix{storage, uplo == 'U', a, n, lda, 0};
    const Memory result = matrix.memory();
    const Input<T> in_x(x, n, incx, conjugate, result), in_y(y, n, incy, conjugate, result);
    const T *v = in_x.data(), *w = in_y.data();
    const auto axpy = vectors().of<T>().axpy;
    update_columns<T>(matrix, [&](const Column<T>& c, std::int64_t j) {
        const T by_y = alpha * conj(w[j]), by_x = conj(alpha * v[j]);
        axpy(c.count, by_y, v + c.first, 1, c.rest, 1);
        axpy(c.count, by_x, w + c.first, 1, c.rest, 1);
        *c.diagonal = diagonal_of_hermitian(fma(by_x, w[j], fma(by_y, v[j], *c.diagonal)));
    });
}

using I = std::int64_t;
#define TENON_INSTANTIATE(T)                                                                       \
    template void symv(const Caller&, Storage, char, I, I, T, const T*, I, const T*, I, T, T*, I); \
    template void trmv(const Caller&, Storage, char, char, char, I, I, const T*, I, T*, I);        \
    template void trsv(const Caller&, Storage, char, char, char, I, I, const T*, I, T*, I);        \
    template void syr<T>(const Caller&, Storage, char, I, Real<T>, const T*, I, T*, I);            \
    template void syr2(const Caller&, Storage, char, I, T, const T*, I, const T*, I, T*, I);
TENON_INSTANTIATE(float)
TENON_INSTANTIATE(double)
TENON_INSTANTIATE(Complex<float>)
TENON_INSTANTIATE(Complex<double>)
#undef TENON_INSTANTIATE

}  // namespace tenon::blas
