// Level 2 of general matrices: A x in the order of the engine's products, by columns or on the engine; A^T x, banded
// products and rank-1 updates by columns.
#include <algorithm>

#include "base/caches.h"
#include "base/parallel.h"
#include "base/thread_count.h"
#include "blas/contiguous.h"
#include "blas/level2.h"
#include "blas/vectors.h"
#include "product/contract.h"
#include "product/float_environment.h"
#include "product/overlap.h"
#include "tenon/product.h"

namespace tenon::blas {
namespace {

using product::Matrix;
using product::dense::Scratch;

/// Elements below which a matrix is not worth another thread.
constexpr std::int64_t kGrain = 1 << 15;

template <class R>
Matrix real_matrix(const void* data, std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
                   std::int64_t column_stride) {
    return {const_cast<void*>(data),
            sizeof(R) == 4 ? DType::float32 : DType::float64,
            rows,
            columns,
            row_stride,
            column_stride,
            0};
}

/// y = alpha A x + beta y, by the engine.
template <class R>
void multiply(std::int64_t m, std::int64_t n, R alpha, const R* a, std::int64_t lda, const R* x, std::int64_t incx,
              R beta, R* y, std::int64_t incy) {
    const Matrix matrix = real_matrix<R>(a, m, n, 1, lda), in = real_matrix<R>(start(x, n, incx), n, 1, incx, 1),
                 out = real_matrix<R>(start(y, m, incy), m, 1, incy, 1);
    if (product::share_memory(in, out, 1) || product::share_memory(matrix, out, 1)) {
        // The result is computed in separate memory and stored at the end.
        Scratch room(static_cast<std::size_t>(m) * sizeof(R));
        R *to = room.take<R>(m), *at = start(y, m, incy);
        for (std::int64_t i = 0; i < m; ++i) to[i] = scaled(beta, at[i * incy]);
        multiply(m, n, alpha, a, lda, x, incx, beta == 0 ? R(0) : R(1), to, 1);
        for (std::int64_t i = 0; i < m; ++i) at[i * incy] = to[i];
        return;
    }
    product::gemm(matrix, in, out, {.alpha = static_cast<double>(alpha), .beta = static_cast<double>(beta)});
}

/// Bytes of sums that stay in the nearest cache while columns pass.
constexpr std::int64_t kSumBytes = 16 << 10;

/// Whether columns of A, several of them side by side, are faster than the engine: it takes longer to begin. With a
/// large L2 its short runs of columns are as fast from there on.
template <class R>
bool adds_columns(std::int64_t m, std::int64_t n) {
    constexpr std::int64_t kLeastRows = 16;
    return m >= kLeastRows && n <= product::kSplitK &&
           (!caches().large_l2() || m * n * std::int64_t{sizeof(R)} <= caches().l2 / 2);
}

/// sums = A x for `m` rows, in the order of products (contract.h); `room` is as long.
template <class R>
void sum_columns(std::int64_t m, std::int64_t n, const R* a, std::int64_t lda, const R* x, R* sums, R* room) {
    const IsaVectors& v = vectors();
    const AddColumns<R> add = [&] {
        if constexpr (sizeof(R) == 4)
            return v.sadd_columns;
        else
            return v.dadd_columns;
    }();
    for (std::int64_t k = 0; k < n; k += product::kBlockK) {
        R* const block = k == 0 ? sums : room;
        std::fill(block, block + m, R(0));
        add(m, std::min(product::kBlockK, n - k), a + k * lda, lda, x + k, block);
        if (k > 0) v.of<R>().axpy(m, R(1), room, 1, sums, 1);
    }
}

/// sums = A x, for a contiguous vector.
template <class R>
void multiply_by_columns(std::int64_t m, std::int64_t n, const R* a, std::int64_t lda, const R* x, R* sums) {
    constexpr std::int64_t kUnit = 64 / std::int64_t{sizeof(R)}, kRows = kSumBytes / std::int64_t{sizeof(R)};
    const std::int64_t units = (m + kUnit - 1) / kUnit, threads = threads_here();
    // One piece for each thread: shorter runs of columns would be slower.
    const std::int64_t grain = std::max((units + threads - 1) / threads, kGrain / (kUnit * n));
    parallel_for(units, grain, [&](std::int64_t begin, std::int64_t end) {
        const product::FloatEnvironment environment(product::Subnormals::keep);
        alignas(64) R room[kRows];
        const std::int64_t last = std::min(end * kUnit, m);
        for (std::int64_t i = begin * kUnit; i < last; i += kRows)
            sum_columns(std::min(kRows, last - i), n, a + i, lda, x, sums + i, room);
    });
}

/// sums = A x, for contiguous complex vectors: the parts of A times xr and times xi, which are then combined.
template <class R>
void multiply_parts(std::int64_t m, std::int64_t n, const Complex<R>* a, std::int64_t lda, const Complex<R>* x,
                    Complex<R>* sums) {
    Scratch room(static_cast<std::size_t>(4 * m) * sizeof(R));
    R* parts = room.take<R>(4 * m);
    product::gemm(real_matrix<R>(a, 2 * m, n, 1, 2 * lda), real_matrix<R>(x, n, 2, 2, 1),
                  real_matrix<R>(parts, 2 * m, 2, 1, 2 * m));
    const R *by_re = parts, *by_im = parts + 2 * m;
    for (std::int64_t i = 0; i < m; ++i) sums[i] = {by_re[2 * i] - by_im[2 * i + 1], by_re[2 * i + 1] + by_im[2 * i]};
}

/// sums = A^T x or A^H x, for contiguous vectors: a sum for each column, kTogether of them side by side.
template <class T>
void multiply_columns(bool conjugate, std::int64_t m, std::int64_t n, const T* a, std::int64_t lda, const T* x,
                      T* sums) {
    const Vectors<T>& v = vectors(m * n * std::int64_t{sizeof(T)}).of<T>();
    const std::int64_t groups = (n + kTogether - 1) / kTogether;
    parallel_for(groups, std::max<std::int64_t>(1, kGrain / (m * kTogether)),
                 [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t j = begin * kTogether; j < std::min(end * kTogether, n); j += kTogether) {
                         const auto count = static_cast<int>(std::min<std::int64_t>(kTogether, n - j));
                         const T* columns[kTogether];
                         for (int c = 0; c < count; ++c) columns[c] = a + (j + c) * lda;
                         v.dots[count - 1](m, columns, x, conjugate, sums + j);
                     }
                 });
}

/// y = alpha sums + beta y.
template <class T>
void finish(std::int64_t n, bool conjugate, T alpha, const T* sums, T beta, T* y, std::int64_t incy) {
    T* out = start(y, n, incy);
    if (beta != of<T>(0) && incy == 1 && !conjugate) {
        if (beta != of<T>(1))
            for (std::int64_t i = 0; i < n; ++i) out[i] = beta * out[i];
        return vectors().of<T>().axpy(n, alpha, sums, 1, out, 1);
    }
    for (std::int64_t i = 0; i < n; ++i) {
        const T sum = conj_if(conjugate, sums[i]);
        T& element = out[i * incy];
        element = beta == of<T>(0) ? alpha * sum : fma(alpha, sum, scaled(beta, element));
    }
}

template <class T>
void scale(std::int64_t n, T beta, T* y, std::int64_t incy) {
    T* at = start(y, n, incy);
    for (std::int64_t i = 0; i < n; ++i) at[i * incy] = scaled(beta, at[i * incy]);
}

}  // namespace

template <class T>
void gemv(const Caller& caller, char trans, std::int64_t m, std::int64_t n, T alpha, const T* a, std::int64_t lda,
          const T* x, std::int64_t incx, T beta, T* y, std::int64_t incy) {
    if (!accepts(caller,
                 {{1, trans != 0}, {2, m >= 0}, {3, n >= 0}, {6, holds_rows(lda, m)}, {8, incx != 0}, {11, incy != 0}}))
        return;
    if (m == 0 || n == 0 || (alpha == of<T>(0) && beta == of<T>(1))) return;
    const bool transposed = transposes(trans);
    const std::int64_t rows = transposed ? n : m, columns = transposed ? m : n;
    if (alpha == of<T>(0)) return scale(rows, beta, y, incy);
    const bool conjugate = conjugates(trans);
    if constexpr (!kComplex<T>)
        if (!transposed && !adds_columns<T>(m, n)) return multiply(m, n, alpha, a, lda, x, incx, beta, y, incy);
    // conj(A) x is the conjugate of A conj(x).
    const bool outside = conjugate && !transposed;
    const Input<T> in(x, columns, incx, outside, {});
    Scratch room(static_cast<std::size_t>(rows) * sizeof(T));
    T* sums = room.take<T>(rows);
    if (transposed)
        multiply_columns(conjugate, m, n, a, lda, in.data(), sums);
    else if constexpr (kComplex<T>)
        multiply_parts(m, n, a, lda, in.data(), sums);
    else
        multiply_by_columns(m, n, a, lda, in.data(), sums);
    finish(rows, outside, alpha, sums, beta, y, incy);
}

template <class T>
void gbmv(const Caller& caller, char trans, std::int64_t m, std::int64_t n, std::int64_t kl, std::int64_t ku, T alpha,
          const T* a, std::int64_t lda, const T* x, std::int64_t incx, T beta, T* y, std::int64_t incy) {
    if (!accepts(caller, {{1, trans != 0},
                          {2, m >= 0},
                          {3, n >= 0},
                          {4, kl >= 0},
                          {5, ku >= 0},
                          {8, lda >= kl + ku + 1},
                          {10, incx != 0},
                          {13, incy != 0}}))
        return;
    if (m == 0 || n == 0 || (alpha == of<T>(0) && beta == of<T>(1))) return;
    const bool transposed = transposes(trans), conjugate = conjugates(trans);
    const std::int64_t rows = transposed ? n : m, columns = transposed ? m : n;
    if (alpha == of<T>(0)) return scale(rows, beta, y, incy);
    const Input<T> in(x, columns, incx, conjugate, memory_of(y, rows, incy));
    const Updated<T> out(conj_if(conjugate, beta), y, rows, incy, conjugate, memory_of(a, kl + ku + 1, n, lda));
    const T factor = conj_if(conjugate, alpha);
    const Vectors<T>& v = vectors().of<T>();
    for (std::int64_t j = 0; j < n; ++j) {
        const std::int64_t first = std::max<std::int64_t>(0, j - ku), last = std::min(m, j + kl + 1);
        if (first >= last) continue;
        const T* column = a + j * lda + (ku + first - j);
        T* to = out.data() + (transposed ? j : first);
        if (transposed)
            *to = fma(factor, v.dot(last - first, column, 1, in.data() + first, 1, false), *to);
        else
            v.axpy(last - first, factor * in.data()[j], column, 1, to, 1);
    }
}

template <class T>
void ger(const Caller& caller, bool conjugate_x, bool conjugate_y, std::int64_t m, std::int64_t n, T alpha, const T* x,
         std::int64_t incx, const T* y, std::int64_t incy, T* a, std::int64_t lda) {
    if (!accepts(caller, {{1, m >= 0}, {2, n >= 0}, {5, incx != 0}, {7, incy != 0}, {9, holds_rows(lda, m)}})) return;
    if (m == 0 || n == 0 || alpha == of<T>(0)) return;
    const Memory result = memory_of(a, m, n, lda);
    const Input<T> in(x, m, incx, conjugate_x, result), by(y, n, incy, conjugate_y, result);
    // Beyond L2 several columns at once are slower, unless L2 is large. There, prefetching one takes 0.90 to 0.98 of
    // the time in the last level, but 0.99 to 1.08 from memory (Zen 5).
    const std::int64_t bytes = m * n * std::int64_t{sizeof(T)};
    const bool together = caches().large_l2() || bytes <= 2 * caches().l2;
    const bool fetches = !together && bytes <= caches().l3_of_one_core();
    const Vectors<T>& v = (fetches ? fetching_vectors() : vectors()).of<T>();
    parallel_for(n, std::max<std::int64_t>(1, kGrain / m), [&](std::int64_t begin, std::int64_t end) {
        std::int64_t j = begin;
        for (; together && j + kUpdated <= end; j += kUpdated) {
            T factors[kUpdated];
            for (int c = 0; c < kUpdated; ++c) factors[c] = alpha * by.data()[j + c];
            v.axpy_columns(m, factors, in.data(), a + j * lda, lda);
        }
        for (; j < end; ++j) v.axpy(m, alpha * by.data()[j], in.data(), 1, a + j * lda, 1);
    });
}

using I = std::int64_t;
#define TENON_INSTANTIATE(T)                                                                    \
    template void gemv(const Caller&, char, I, I, T, const T*, I, const T*, I, T, T*, I);       \
    template void gbmv(const Caller&, char, I, I, I, I, T, const T*, I, const T*, I, T, T*, I); \
    template void ger(const Caller&, bool, bool, I, I, T, const T*, I, const T*, I, T*, I);
TENON_INSTANTIATE(float)
TENON_INSTANTIATE(double)
TENON_INSTANTIATE(Complex<float>)
TENON_INSTANTIATE(Complex<double>)
#undef TENON_INSTANTIATE

}  // namespace tenon::blas
