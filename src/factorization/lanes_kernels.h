// From matrices in memory to the lanes of vectors, the factorizations, and back: compiled for each instruction set, and
// for the reference with one lane.
#pragma once

#include "factorization/eigh.h"
#include "factorization/small.h"
#include "factorization/svd.h"
#include "factorization/triangles.h"

namespace tenon::factorization {
namespace {

/// Lanes without a matrix of their own have the first.
template <class L>
void load_lanes(const Group<typename L::Element>& g, const Matrices<L>& to, bool transposed) {
    const std::int64_t rows = transposed ? g.columns : g.rows, columns = transposed ? g.rows : g.columns;
    const std::int64_t down = transposed ? g.column_stride : g.row_stride,
                       right = transposed ? g.row_stride : g.column_stride;
    for (std::int64_t lane = 0; lane < L::kLanes; ++lane) {
        const typename L::Element* from = g.a[lane < g.count ? lane : 0];
        for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t j = 0; j < columns; ++j) to.at(i, j)[lane] = from[i * down + j * right];
    }
}

/// Iterations never meet what is not finite: such matrices become zeros, and their mask is returned. The others are
/// multiplied by the power of two that brings their largest element to 1, whose inverse goes to `scale`.
template <class L>
typename L::Mask normalize(const Matrices<L>& a, std::int64_t rows, std::int64_t columns, typename L::Reg& scale,
                           bool lower) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    const Reg zero = L::set(T(0));
    Reg largest = zero, poison = zero;
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < (lower ? i + 1 : columns); ++j) {
            const Reg x = a.get(i, j);
            largest = larger<L>(L::abs(x), largest);
            poison = L::fma(x, zero, poison);  // NaN from where x is not finite
        }
    const auto bad = L::negated(poison == zero);
    scale = larger<L>(L::power(largest), L::set(Limits<T>::kNormal));
    scale = L::select(bad, L::set(T(1)), scale);
    const Reg down = L::set(T(1)) / scale;
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < (lower ? i + 1 : columns); ++j)
            a.set(i, j, L::select(bad, zero, a.get(i, j) * down));
    return bad;
}

template <class L>
void cholesky(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    const std::int64_t n = g.rows;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(n, n);
    load_lanes(g, a, false);
    factor_cholesky(a, n);
    for (std::int64_t lane = 0; lane < g.count; ++lane)
        for (std::int64_t i = 0; i < n; ++i) {
            T* row = g.out[lane] + i * n;
            for (std::int64_t j = 0; j <= i; ++j) row[j] = a.at(i, j)[lane];
            for (std::int64_t j = i + 1; j < n; ++j) row[j] = T(0);
        }
}

template <class L>
void lu(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    const std::int64_t m = g.rows, n = g.columns, k = m < n ? m : n;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(m, n);
    T* const pivots = memory.vector(k);
    load_lanes(g, a, false);
    factor_lu(a, m, n, pivots);
    for (std::int64_t lane = 0; lane < g.count; ++lane) {
        T *out = g.out[lane], *permutation = out + m * n;
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) out[i * n + j] = a.at(i, j)[lane];
        for (std::int64_t i = 0; i < m; ++i) permutation[i] = static_cast<T>(i);
        for (std::int64_t i = 0; i < k; ++i) {
            const auto p = static_cast<std::int64_t>(pivots[i * L::kLanes + lane]);
            const T t = permutation[i];
            permutation[i] = permutation[p];
            permutation[p] = t;
        }
    }
}

template <class L>
void qr(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    const std::int64_t m = g.rows, n = g.columns, columns = g.full ? m : n;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(m, n), q = memory.matrices(m, columns);
    T* const taus = memory.vector(n);
    load_lanes(g, a, false);
    factor_qr(a, m, n, taus);
    form_q(a, 0, n, taus, q, m, columns);
    for (std::int64_t lane = 0; lane < g.count; ++lane) {
        T* out = g.out[lane];
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < columns; ++j) *out++ = q.at(i, j)[lane];
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j) *out++ = j < i ? T(0) : a.at(i, j)[lane];
    }
}

/// The positions that sort `count` values of a lane, stable.
template <class L>
void sort_positions(const typename L::Element* values, std::int64_t lane, std::int64_t count, bool descending,
                    typename L::Element* order) {
    using T = typename L::Element;
    for (std::int64_t i = 0; i < count; ++i) {
        const T x = values[i * L::kLanes + lane];
        std::int64_t k = i;
        for (; k > 0; --k) {
            const T before = values[static_cast<std::int64_t>(order[k - 1]) * L::kLanes + lane];
            if (descending ? !(before < x) : !(before > x)) break;
            order[k] = order[k - 1];
        }
        order[k] = static_cast<T>(i);
    }
}

template <class L>
void eigh(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    constexpr std::int64_t S = L::kLanes;
    const std::int64_t n = g.rows;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(n, n), z = memory.matrices(n, n);
    T *const d = memory.vector(n), *const e = memory.vector(n), *const taus = memory.vector(n),
             *const v = memory.vector(n), *const w = memory.vector(n), *const order = memory.vector(n);
    load_lanes(g, a, false);
    Reg scale;
    const auto bad = normalize(a, n, n, scale, true);
    reduce_to_tridiagonal(a, n, d, e, taus, v, w);
    if (g.vectors) form_q(a, 1, n - 1, taus, z, n, n);
    iterate_tridiagonal(d, e, v, w, n, z, g.vectors ? n : 0);
    // Adding 0 makes every zero +0: its sign would tell how long the lane rested.
    const Reg nan = L::set(Limits<T>::kNaN), zero = L::set(T(0));
    for (std::int64_t i = 0; i < n; ++i) L::store(d + i * S, L::select(bad, nan, L::load(d + i * S) * scale + zero));
    for (std::int64_t i = 0; g.vectors && i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) z.set(i, j, L::select(bad, nan, z.get(i, j) + zero));
    for (std::int64_t lane = 0; lane < g.count; ++lane) {
        T *values = g.out[lane], *vectors = values + n;
        sort_positions<L>(d, lane, n, false, order);
        for (std::int64_t j = 0; j < n; ++j) {
            const auto from = static_cast<std::int64_t>(order[j]);
            values[j] = d[from * S + lane];
            for (std::int64_t i = 0; g.vectors && i < n; ++i) vectors[i * n + j] = z.at(i, from)[lane];
        }
    }
}

template <class L>
void svd(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    constexpr std::int64_t S = L::kLanes;
    // Of a wide matrix, that of its transpose: then U and V change places.
    const bool wide = g.rows < g.columns;
    const std::int64_t m = wide ? g.columns : g.rows, n = wide ? g.rows : g.columns;
    const std::int64_t left = g.vectors ? g.full ? m : n : 0;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(m, n), q = memory.matrices(m, left > n ? left : n), x = memory.matrices(n, n),
                      u = memory.matrices(n, m);
    T *const taus = memory.vector(n), *const norms = memory.vector(n), *const values = memory.vector(n),
             *const order = memory.vector(n);
    load_lanes(g, a, wide);
    Reg scale;
    const auto bad = normalize(a, m, n, scale, false);
    const Reg zero = L::set(T(0)), nan = L::set(Limits<T>::kNaN);
    factor_qr(a, m, n, taus);
    if (g.vectors) form_q(a, 0, n, taus, q, m, left);
    for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) x.set(i, j, j < i ? zero : a.get(i, j));
        for (std::int64_t j = 0; g.vectors && j < m; ++j) u.set(i, j, q.get(j, i));
    }
    orthogonalize_rows(x, n, u, g.vectors ? m : 0, norms);
    sort_rows(x, n, u, g.vectors ? m : 0, norms);
    // The columns of x^T are orthogonal, so that its R is diagonal to working precision; its Q is V.
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) a.set(i, j, x.get(j, i));
    factor_qr(a, n, n, taus);
    if (g.vectors) form_q(a, 0, n, taus, x, n, n);
    for (std::int64_t j = 0; j < n; ++j) {
        const Reg r = a.get(j, j);
        L::store(values + j * S, L::select(bad, nan, L::abs(r) * scale));
        for (std::int64_t i = 0; g.vectors && i < n; ++i)
            x.set(i, j, L::select(bad, nan, L::select(r < zero, -x.get(i, j), x.get(i, j)) + zero));
        for (std::int64_t i = 0; g.vectors && i < m; ++i) u.set(j, i, L::select(bad, nan, u.get(j, i) + zero));
    }
    for (std::int64_t j = n; j < left; ++j)
        for (std::int64_t i = 0; i < m; ++i) q.set(i, j, L::select(bad, nan, q.get(i, j) + zero));
    for (std::int64_t lane = 0; lane < g.count; ++lane) {
        T* out = g.out[lane];
        sort_positions<L>(values, lane, n, true, order);
        for (std::int64_t j = 0; j < n; ++j) out[j] = values[static_cast<std::int64_t>(order[j]) * S + lane];
        if (!g.vectors) continue;
        // U (rows, .) and then V^T: the long vectors first, or last where the matrix is wide.
        out += n;
        T *const tall = wide ? out + n * n : out, *const square = wide ? out : out + m * left;
        const auto put = [](T* matrix, std::int64_t columns, bool transposed, std::int64_t i, std::int64_t j,
                            std::int64_t rows,
                            T value) { matrix[transposed ? j * rows + i : i * columns + j] = value; };
        for (std::int64_t j = 0; j < left; ++j) {
            const std::int64_t from = j < n ? static_cast<std::int64_t>(order[j]) : j;
            for (std::int64_t i = 0; i < m; ++i)
                put(tall, left, wide, i, j, m, (j < n ? u.at(from, i) : q.at(i, j))[lane]);
            for (std::int64_t i = 0; j < n && i < n; ++i) put(square, n, !wide, i, j, n, x.at(i, from)[lane]);
        }
    }
}

template <class L>
constexpr Kernels<typename L::Element> kernels() {
    return {L::kLanes, cholesky<L>, lu<L>, qr<L>, eigh<L>, svd<L>};
}

constexpr IsaKernels kAll = {kernels<Many<float>>(), kernels<One<float>>(), kernels<Many<double>>(),
                             kernels<One<double>>()};

}  // namespace
}  // namespace tenon::factorization
