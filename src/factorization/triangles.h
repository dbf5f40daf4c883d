// Cholesky's factorization and LU with partial pivoting.
#pragma once

#include "factorization/lanes.h"

namespace tenon::factorization {
namespace {

/// R x C elements from (i, j) on: the chains over k < end.
template <class L, int R, int C>
TENON_INLINE void subtract_products(const Matrices<L>& a, std::int64_t i, std::int64_t j, std::int64_t end) {
    typename L::Reg x[R][C], row[R], column[C];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) x[r][c] = a.get(i + r, j + c);
    for (std::int64_t k = 0; k < end; ++k) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) column[c] = a.get(j + c, k);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            row[r] = -a.get(i + r, k);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) x[r][c] = L::fma(row[r], column[c], x[r][c]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) a.set(i + r, j + c, x[r][c]);
}

/// The lower triangle of a becomes L of L L^T. Each element is one chain x = fma(-L[i, k], L[j, k], x) from a[i, j]
/// over k = 0, ..., j - 1; then L[j, j] is its root, and L[i, j] = x times 1 / L[j, j]. Where some x[j, j] is not above
/// zero, all of the triangle is NaN. What is above the diagonal is overwritten.
template <class L>
void factor_cholesky(const Matrices<L>& a, std::int64_t n) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    constexpr int B = L::kTile;
    typename L::Mask bad = L::none();
    for (std::int64_t j0 = 0; j0 < n; j0 += B) {
        const std::int64_t columns = n - j0 < B ? n - j0 : B;
        std::int64_t i = j0;
        if (columns == B)
            for (; i + B <= n; i += B) subtract_products<L, B, B>(a, i, j0, j0);
        for (; i < n; ++i)
            for (std::int64_t c = 0; c < columns; ++c) subtract_products<L, 1, 1>(a, i, j0 + c, j0);
        for (std::int64_t j = j0; j < j0 + columns; ++j) {
            Reg diagonal = a.get(j, j);
            for (std::int64_t k = j0; k < j; ++k) diagonal = L::fma(-a.get(j, k), a.get(j, k), diagonal);
            bad = L::either(bad, L::negated(diagonal > L::set(T(0))));
            diagonal = L::sqrt(diagonal);
            a.set(j, j, diagonal);
            const Reg inverse = L::set(T(1)) / diagonal;
            for (i = j + 1; i < n; ++i) {
                Reg x = a.get(i, j);
                for (std::int64_t k = j0; k < j; ++k) x = L::fma(-a.get(i, k), a.get(j, k), x);
                a.set(i, j, x * inverse);
            }
        }
    }
    if (!L::any(bad)) return;
    const Reg nan = L::set(Limits<T>::kNaN);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j <= i; ++j) a.set(i, j, L::select(bad, nan, a.get(i, j)));
}

/// Rows k and, in each lane, pivots[lane] exchanged.
template <class L>
TENON_INLINE void exchange_rows(const Matrices<L>& a, std::int64_t n, std::int64_t k,
                                const typename L::Element* pivots) {
    for (int lane = 0; lane < L::kLanes; ++lane) {
        const auto p = static_cast<std::int64_t>(pivots[lane]);
        if (p == k) continue;
        typename L::Element *x = a.at(k, 0) + lane, *y = a.at(p, 0) + lane;
        for (std::int64_t j = 0; j < n; ++j) {
            const typename L::Element t = x[j * L::kLanes];
            x[j * L::kLanes] = y[j * L::kLanes];
            y[j * L::kLanes] = t;
        }
    }
}

/// R x C elements from (i, j) on: the chains x = fma(-L[i, k], U[k, j], x) over begin <= k < end.
template <class L, int R, int C>
TENON_INLINE void subtract_outer(const Matrices<L>& a, std::int64_t i, std::int64_t j, std::int64_t begin,
                                 std::int64_t end) {
    typename L::Reg x[R][C], row[R], column[C];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) x[r][c] = a.get(i + r, j + c);
    for (std::int64_t k = begin; k < end; ++k) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) column[c] = a.get(k, j + c);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            row[r] = -a.get(i + r, k);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) x[r][c] = L::fma(row[r], column[c], x[r][c]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) a.set(i + r, j + c, x[r][c]);
}

/// The pivot of column k among rows k, ..., m - 1, exchanged with row k; and the column of L.
template <class L>
TENON_INLINE void choose_pivot(const Matrices<L>& a, std::int64_t m, std::int64_t n, std::int64_t k,
                               typename L::Element* chosen) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    Reg best = L::abs(a.get(k, k)), row = L::set(static_cast<T>(k));
    for (std::int64_t i = k + 1; i < m; ++i) {
        const Reg x = L::abs(a.get(i, k));
        const auto better = x > best;
        best = L::select(better, x, best);
        row = L::select(better, L::set(static_cast<T>(i)), row);
    }
    L::store(chosen, row);
    exchange_rows(a, n, k, chosen);
    const Reg pivot = a.get(k, k);
    const auto zero = pivot == L::set(T(0));
    for (std::int64_t i = k + 1; i < m; ++i) a.set(i, k, L::select(zero, a.get(i, k), a.get(i, k) / pivot));
}

/// a (m, n) becomes L, whose diagonal of ones is not stored, and U. pivots[k] is the row that was exchanged with row k:
/// the first of those with the largest |a[i, k]|, i >= k. Each element is one chain x = fma(-L[i, k], U[k, j], x) over
/// ascending k, below the diagonal divided by the pivot; a pivot of 0 divides nothing.
template <class L>
void factor_lu(const Matrices<L>& a, std::int64_t m, std::int64_t n, typename L::Element* pivots) {
    constexpr int B = L::kTile;
    const std::int64_t k_end = m < n ? m : n;
    for (std::int64_t j0 = 0; j0 < n; j0 += B) {
        const std::int64_t end = j0 + B < n ? j0 + B : n, known = j0 < k_end ? j0 : k_end;
        // From the first rows on, as each needs those above it: chains over the columns of L that are known.
        std::int64_t i = 0;
        if (end - j0 == B)
            for (; i + B <= m; i += B) {
                const std::int64_t done = i < known ? i : known;
                subtract_outer<L, B, B>(a, i, j0, 0, done);
                for (std::int64_t r = i + 1; r < i + B && done < known; ++r)
                    subtract_outer<L, 1, B>(a, r, j0, done, r < known ? r : known);
            }
        for (; i < m; ++i)
            for (std::int64_t j = j0; j < end; ++j) subtract_outer<L, 1, 1>(a, i, j, 0, i < known ? i : known);
        for (std::int64_t k = j0; k < (end < k_end ? end : k_end); ++k) {
            choose_pivot(a, m, n, k, pivots + k * L::kLanes);
            for (i = k + 1; i < m; ++i)
                for (std::int64_t j = k + 1; j < end; ++j) subtract_outer<L, 1, 1>(a, i, j, k, k + 1);
        }
    }
}

}  // namespace
}  // namespace tenon::factorization
