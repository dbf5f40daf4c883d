// To LAPACK, contiguous rows are columns of the transpose. So a symmetric matrix is given by its other triangle, the
// SVD has U and V exchanged, and only LU and QR need a transposed copy.
#include "factorization/large.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/text.h"
#include "lapack/lapack.h"
#include "tenon/error.h"

namespace tenon::factorization {
namespace {

template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();

/// LAPACK counts elements, those of its working memory too, in 32 bits: the lesser extent squared, and some, and the
/// matrix. A permutation is stored in the matrix's dtype, float32 holds 2^24 rows exactly.
template <class T>
void check_extents(std::int64_t m, std::int64_t n) {
    constexpr std::int64_t kMost = 32766, kLargest = std::numeric_limits<int>::max(),
                           kLongest = sizeof(T) == 4 ? 1 << 24 : kLargest;
    if (std::min(m, n) > kMost || m * n > kLargest || std::max(m, n) > kLongest)
        throw ValueError(text("factorization of (", m, ", ", n, "): the lesser extent is at most ", kMost,
                              ", an extent ", kLongest, ", and the elements of a matrix ", kLargest));
}

int extent(std::int64_t n) { return static_cast<int>(n); }

/// The place to which element (i, j) of a matrix is copied.
template <class T>
struct Place {
    T* data;
    std::int64_t row_stride, column_stride;
};

/// The side of the squares in which a transposing copy runs, so that lines stay in cache until they are complete.
constexpr std::int64_t kSquare = 16;

template <class T>
void copy(const T* from, std::int64_t row_stride, std::int64_t column_stride, const Place<T>& to, std::int64_t rows,
          std::int64_t columns) {
    for (std::int64_t i0 = 0; i0 < rows; i0 += kSquare)
        for (std::int64_t j0 = 0; j0 < columns; j0 += kSquare)
            for (std::int64_t i = i0; i < std::min(rows, i0 + kSquare); ++i)
                for (std::int64_t j = j0; j < std::min(columns, j0 + kSquare); ++j)
                    to.data[i * to.row_stride + j * to.column_stride] = from[i * row_stride + j * column_stride];
}

template <class T>
Place<T> by_rows(T* data, std::int64_t columns) {
    return {data, columns, 1};
}
template <class T>
Place<T> by_columns(T* data, std::int64_t rows) {
    return {data, 1, rows};
}

/// The matrix of a group of one, by columns.
template <class T>
std::vector<T> columns_of(const Group<T>& g) {
    std::vector<T> a(static_cast<std::size_t>(g.rows * g.columns));
    copy(g.a[0], g.row_stride, g.column_stride, by_columns(a.data(), g.rows), g.rows, g.columns);
    return a;
}

template <class T>
bool all_finite(const T* x, std::int64_t n) {
    T sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += x[i] * T(0);
    return sum == 0;
}

template <class T>
void cholesky(const Group<T>& g) {
    const std::int64_t n = g.rows;
    check_extents<T>(g.rows, g.columns);
    T* const l = g.out[0];
    copy(g.a[0], g.row_stride, g.column_stride, by_rows(l, n), n, n);
    const bool fails = lapack::potrf('U', extent(n), l, extent(n)) != 0;
    for (std::int64_t i = 0; i < n; ++i) {
        if (fails) std::fill_n(l + i * n, i + 1, kNaN<T>);
        std::fill(l + i * n + i + 1, l + (i + 1) * n, T(0));
    }
}

template <class T>
void lu(const Group<T>& g) {
    const std::int64_t m = g.rows, n = g.columns;
    check_extents<T>(g.rows, g.columns);
    std::vector<T> a = columns_of(g);
    std::vector<int> pivots(static_cast<std::size_t>(std::min(m, n)));
    lapack::getrf(extent(m), extent(n), a.data(), extent(std::max<std::int64_t>(1, m)), pivots.data());
    copy(a.data(), 1, m, by_rows(g.out[0], n), m, n);
    T* const permutation = g.out[0] + m * n;
    for (std::int64_t i = 0; i < m; ++i) permutation[i] = static_cast<T>(i);
    for (std::size_t i = 0; i < pivots.size(); ++i) std::swap(permutation[i], permutation[pivots[i] - 1]);
}

template <class T>
void qr(const Group<T>& g) {
    const std::int64_t m = g.rows, n = g.columns, columns = g.full ? m : n;
    check_extents<T>(g.rows, g.full ? std::max(g.rows, g.columns) : g.columns);
    const int lda = extent(std::max<std::int64_t>(1, m));
    std::vector<T> a = columns_of(g), tau(static_cast<std::size_t>(n));
    lapack::Workspace<T> work;
    work.run([&](T* w, int size) { return lapack::geqrf(extent(m), extent(n), a.data(), lda, tau.data(), w, size); });
    T *const q = g.out[0], *const r = q + m * columns;
    copy(a.data(), 1, m, by_rows(r, n), n, n);
    for (std::int64_t i = 0; i < n; ++i) std::fill_n(r + i * n, i, T(0));
    a.resize(static_cast<std::size_t>(m * columns));
    work.run([&](T* w, int size) {
        return lapack::orgqr(extent(m), extent(columns), extent(n), a.data(), lda, tau.data(), w, size);
    });
    copy(a.data(), 1, m, by_rows(q, columns), m, columns);
}

template <class T>
void eigh(const Group<T>& g) {
    const std::int64_t n = g.rows;
    check_extents<T>(g.rows, g.columns);
    std::vector<T> a(static_cast<std::size_t>(n * n));
    copy(g.a[0], g.row_stride, g.column_stride, by_rows(a.data(), n), n, n);
    T *const values = g.out[0], *const vectors = values + n;
    bool finite = true;
    for (std::int64_t i = 0; i < n; ++i) finite = finite && all_finite(a.data() + i * n, i + 1);
    if (finite) {
        // Two work arrays, whose sizes come from one query.
        const char job = g.vectors ? 'V' : 'N';
        T best = 0;
        int best_integers = 0;
        lapack::syevd(job, 'U', extent(n), a.data(), extent(n), values, &best, -1, &best_integers, -1);
        std::vector<int> integers(static_cast<std::size_t>(best_integers));
        lapack::Workspace<T> work;
        finite = work.run([&](T* w, int size) {
            return lapack::syevd(job, 'U', extent(n), a.data(), extent(n), values, w, size, integers.data(),
                                 size < 0 ? size : best_integers);
        }) == 0;
    }
    if (!finite) {
        std::fill_n(values, g.vectors ? n + n * n : n, kNaN<T>);
    } else if (g.vectors) {
        copy(a.data(), 1, n, by_rows(vectors, n), n, n);
    }
}

template <class T>
void svd(const Group<T>& g) {
    const std::int64_t m = g.rows, n = g.columns, k = std::min(m, n);
    check_extents<T>(g.full ? std::max(m, n) : m, g.full ? std::max(m, n) : n);
    const std::int64_t left = g.full ? m : k, right = g.full ? n : k;
    std::vector<T> a(static_cast<std::size_t>(m * n));
    copy(g.a[0], g.row_stride, g.column_stride, by_rows(a.data(), n), m, n);
    T *const s = g.out[0], *const u = s + k, *const vh = u + m * left;
    bool finite = all_finite(a.data(), m * n);
    if (finite) {
        std::vector<int> integers(static_cast<std::size_t>(8 * std::max<std::int64_t>(1, k)));
        lapack::Workspace<T> work;
        const auto one = [](std::int64_t x) { return extent(std::max<std::int64_t>(1, x)); };
        T unused = 0;
        finite = work.run([&](T* w, int size) {
            return lapack::gesdd(g.vectors ? g.full ? 'A' : 'S' : 'N', extent(n), extent(m), a.data(), one(n), s,
                                 g.vectors ? vh : &unused, one(n), g.vectors ? u : &unused, one(left), w, size,
                                 integers.data());
        }) == 0;
    }
    if (!finite) std::fill_n(s, g.vectors ? k + m * left + right * n : k, kNaN<T>);
}

}  // namespace

const Kernels<float> kLargeFloat = {1, cholesky<float>, lu<float>, qr<float>, eigh<float>, svd<float>, nullptr};
const Kernels<double> kLargeDouble = {1, cholesky<double>, lu<double>, qr<double>, eigh<double>, svd<double>, nullptr};

}  // namespace tenon::factorization
