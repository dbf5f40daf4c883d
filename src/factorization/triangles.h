// Cholesky's factorization and LU with partial pivoting.
#pragma once

#include "factorization/solve.h"

namespace tenon::factorization {
namespace {

/// A square of B rows on the diagonal, from i: its chains, roots and quotients, all in registers.
template <class L, int B>
TENON_INLINE void factor_square(const Matrices<L>& a, std::int64_t i, typename L::Element* inverses,
                                typename L::Mask& bad) {
    using T = typename L::Element;
    typename L::Reg x[B][B], row[B];
#pragma GCC unroll 4
    for (int r = 0; r < B; ++r)
#pragma GCC unroll 4
        for (int c = 0; c <= r; ++c) x[r][c] = a.get(i + r, i + c);
    for (std::int64_t k = 0; k < i; ++k)
#pragma GCC unroll 4
        for (int r = 0; r < B; ++r) {
            row[r] = a.get(i + r, k);
#pragma GCC unroll 4
            for (int c = 0; c <= r; ++c) x[r][c] = L::fma(-row[r], row[c], x[r][c]);
        }
#pragma GCC unroll 4
    for (int k = 0; k < B; ++k) {
        bad = L::either(bad, L::negated(x[k][k] > L::set(T(0))));
        x[k][k] = L::sqrt(x[k][k]);
        const typename L::Reg inverse = L::set(T(1)) / x[k][k];
        L::store(inverses + (i + k) * L::kLanes, inverse);
#pragma GCC unroll 4
        for (int r = k + 1; r < B; ++r) x[r][k] = x[r][k] * inverse;
#pragma GCC unroll 4
        for (int r = k + 1; r < B; ++r)
#pragma GCC unroll 4
            for (int c = k + 1; c <= r; ++c) x[r][c] = L::fma(-x[r][k], x[c][k], x[r][c]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < B; ++r)
#pragma GCC unroll 4
        for (int c = 0; c <= r; ++c) a.set(i + r, i + c, x[r][c]);
}

/// R rows of L from i, below a square of C columns from j that is complete: their chains, all in registers.
template <class L, int R, int C>
TENON_INLINE void solve_rows(const Matrices<L>& a, std::int64_t i, std::int64_t j,
                             const typename L::Element* inverses) {
    typename L::Reg x[R][C], row[R], column[C];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) x[r][c] = a.get(i + r, j + c);
    for (std::int64_t k = 0; k < j; ++k) {
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
    for (int c = 0; c < C; ++c) {
#pragma GCC unroll 4
        for (int k = 0; k < c; ++k)
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) x[r][c] = L::fma(-x[r][k], a.get(j + c, j + k), x[r][c]);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            x[r][c] = x[r][c] * L::load(inverses + (j + c) * L::kLanes);
            a.set(i + r, j + c, x[r][c]);
        }
    }
}

/// The lower triangle of a becomes L of L L^T. Each element is one chain x = fma(-L[i, k], L[j, k], x) from a[i, j]
/// over k = 0, ..., j - 1; then L[j, j] is its root, and L[i, j] = x times 1 / L[j, j]. If some x[j, j] is not above
/// zero, the whole triangle is NaN, and true is returned. The part above the diagonal is neither read nor written. Rows
/// are computed from the first to the last, some at a time: before(begin, end) loads them, and after(begin, end)
/// follows. `inverses` is scratch of n vectors.
template <class L, class F, class G>
bool factor_cholesky(const Matrices<L>& a, std::int64_t n, typename L::Element* inverses, const F& before,
                     const G& after) {
    constexpr int B = L::kTile;
    typename L::Mask bad = L::none();
    std::int64_t i = 0;
    for (; i + B <= n; i += B) {
        before(i, i + B);
        for (std::int64_t j = 0; j < i; j += B) solve_rows<L, B, B>(a, i, j, inverses);
        factor_square<L, B>(a, i, inverses, bad);
        after(i, i + B);
    }
    for (const std::int64_t whole = i; i < n; ++i) {
        before(i, i + 1);
        for (std::int64_t j = 0; j < whole; j += B) solve_rows<L, 1, B>(a, i, j, inverses);
        for (std::int64_t j = whole; j < i; ++j) solve_rows<L, 1, 1>(a, i, j, inverses);
        factor_square<L, 1>(a, i, inverses, bad);
        after(i, i + 1);
    }
    if (!L::any(bad)) return false;
    const typename L::Reg nan = L::set(Limits<typename L::Element>::kNaN);
    for (std::int64_t r = 0; r < n; ++r)
        for (std::int64_t j = 0; j <= r; ++j) a.set(r, j, L::select(bad, nan, a.get(r, j)));
    return true;
}

/// Exchanges row k with, in each lane, row pivots[lane], in the first n columns; returns false if all lanes have the
/// same pivot.
template <class L>
TENON_INLINE bool exchange_rows(const Matrices<L>& a, std::int64_t n, std::int64_t k,
                                const typename L::Element* pivots) {
    using T = typename L::Element;
    constexpr int N = L::kLanes;
    T* const own = a.at(k, 0);
    bool moves = false;
#if defined(__AVX512F__)
    if constexpr (N == 8) {
        // A row's lanes at once: one load and one store of a lane for each.
        T* rows[N];
#pragma GCC unroll 8
        for (int lane = 0; lane < N; ++lane) {
            rows[lane] = a.at(static_cast<std::int64_t>(pivots[lane]), 0);
            moves |= rows[lane] != own;
        }
        for (std::int64_t j = 0; moves && j < n * N; j += N) {
            const typename L::Reg x = L::load(own + j);
            typename L::Reg y = x;
#pragma GCC unroll 8
            for (int lane = 0; lane < N; ++lane) y = L::insert(y, 1u << lane, rows[lane] + j);
#pragma GCC unroll 8
            for (int lane = 0; lane < N; ++lane) L::extract(rows[lane] + j, 1u << lane, x);
            L::store(own + j, y);
        }
        return moves;
    }
#endif
    for (int lane = 0; lane < N; ++lane) {
        T *const x = own + lane, *const y = a.at(static_cast<std::int64_t>(pivots[lane]), 0) + lane;
        if (x == y) continue;
        moves = true;
        for (std::int64_t j = 0; j < n * N; j += N) {
            const T t = x[j];
            x[j] = y[j];
            y[j] = t;
        }
    }
    return moves;
}

/// R x C elements from (i, j): the chains x = fma(-L[i, k], U[k, j], x) over begin <= k < end.
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

/// The largest element of a column so far, and its row.
template <class L>
struct Pivot {
    using T = typename L::Element;
    typename L::Reg best = L::set(T(-1)), row;

    TENON_INLINE explicit Pivot(std::int64_t first) : row(L::set(static_cast<T>(first))) {}
    TENON_INLINE void see(typename L::Reg x, std::int64_t i) {
        const typename L::Reg size = L::abs(x);
        const auto better = size > best;
        best = L::select(better, size, best);
        row = L::select(better, L::set(static_cast<T>(i)), row);
    }
};

/// Multiplies column k below its pivot by 1 / pivot (divides it if that might overflow; leaves it if the pivot is 0),
/// and subtracts its products from the C columns after it; `next` sees the first of these.
template <class L, int C>
TENON_INLINE void eliminate(const Matrices<L>& a, std::int64_t m, std::int64_t k, Pivot<L>& next) {
    using T = typename L::Element;
    typename L::Reg u[C + 1];
    const typename L::Reg pivot = a.get(k, k), inverse = L::set(T(1)) / pivot;
    const auto tiny = L::abs(pivot) < L::set(4 * Limits<T>::kNormal);
    const bool some_tiny = L::any(tiny);
    const auto quotient = [&](typename L::Reg x) {
        const typename L::Reg l = x * inverse;
        if (!some_tiny) [[likely]]
            return l;
        return L::select(tiny, L::select(pivot == L::set(T(0)), x, x / pivot), l);
    };
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) u[c] = a.get(k, k + 1 + c);
    for (std::int64_t i = k + 1; i < m; ++i) {
        const typename L::Reg l = quotient(a.get(i, k));
        a.set(i, k, l);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
            const typename L::Reg y = L::fma(-l, u[c], a.get(i, k + 1 + c));
            a.set(i, k + 1 + c, y);
            if (c == 0) next.see(y, i);
        }
    }
}

/// Columns begin, ..., end - 1, at most four, from which the products of all earlier columns were subtracted. In rows
/// that are exchanged, columns up to `last` are exchanged; exchanged(k) is called.
template <class L, class G>
TENON_INLINE void factor_panel(const Matrices<L>& a, std::int64_t m, std::int64_t last, std::int64_t begin,
                               std::int64_t end, typename L::Element* pivots, const G& exchanged) {
    Pivot<L> pivot(begin);
    for (std::int64_t i = begin; i < m; ++i) pivot.see(a.get(i, begin), i);
    for (std::int64_t k = begin; k < end && k < m; ++k) {
        L::store(pivots + k * L::kLanes, pivot.row);
        if (exchange_rows(a, last, k, pivots + k * L::kLanes)) exchanged(k);
        pivot = Pivot<L>(k + 1);
        switch (end - k) {
            case 4:
                eliminate<L, 3>(a, m, k, pivot);
                break;
            case 3:
                eliminate<L, 2>(a, m, k, pivot);
                break;
            case 2:
                eliminate<L, 1>(a, m, k, pivot);
                break;
            default:
                eliminate<L, 0>(a, m, k, pivot);
        }
    }
}

/// a (m, n) becomes L, whose diagonal of ones is not stored, and U. pivots[k] is the row that was exchanged with row k:
/// the first one with the largest |a[i, k]|, i >= k. Each element is one chain x = fma(-L[i, k], U[k, j], x) over
/// ascending k, below the diagonal multiplied by 1 / pivot; a pivot of 0 leaves it. Columns are needed `width` at a
/// time, a multiple of the tile: load(begin, end) loads them with the rows as they have been exchanged so far, which
/// exchanged(k) reported, so that only the exchanges of their own and later steps are made in them.
template <class L, class F, class G>
void factor_lu(const Matrices<L>& a, std::int64_t m, std::int64_t n, std::int64_t width, typename L::Element* pivots,
               const F& load, const G& exchanged) {
    constexpr int B = L::kTile;
    const std::int64_t k_end = m < n ? m : n;
    for (std::int64_t j0 = 0, last = 0; j0 < n;) {
        if (j0 == last) {
            last = j0 + width < n ? j0 + width : n;
            load(j0, last);
        }
        const std::int64_t end = j0 + B < last ? j0 + B : last, known = j0 < k_end ? j0 : k_end;
        // From the first rows on, since each needs those above it: chains over the columns of L that are known.
        std::int64_t i = 0;
        if (end - j0 == B)
            for (; i + B <= m; i += B) {
                if (i < known)
                    solve_tile<L, B, B>(a, a, i, j0, true);
                else
                    subtract_outer<L, B, B>(a, i, j0, 0, known);
            }
        for (; i < m; ++i)
            for (std::int64_t j = j0; j < end; ++j) subtract_outer<L, 1, 1>(a, i, j, 0, i < known ? i : known);
        if (j0 < k_end) factor_panel(a, m, last, j0, end, pivots, exchanged);
        j0 = end;
    }
}

}  // namespace
}  // namespace tenon::factorization
