// Triangular systems, one in each lane, in the order of product::trsm.
#pragma once

#include "factorization/lanes.h"

namespace tenon::factorization {
namespace {

/// R x C elements of the solution from (i, j).
template <class L, int R, int C>
TENON_INLINE void solve_tile(const Matrices<L>& a, const Matrices<L>& b, std::int64_t i, std::int64_t j, bool unit) {
    typename L::Reg x[R][C], row[R], known[C];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) x[r][c] = b.get(i + r, j + c);
    for (std::int64_t k = 0; k < i; ++k) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) known[c] = b.get(k, j + c);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            row[r] = -a.get(i + r, k);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) x[r][c] = L::fma(row[r], known[c], x[r][c]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int k = 0; k < r; ++k) {
            const typename L::Reg factor = -a.get(i + r, i + k);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) x[r][c] = L::fma(factor, x[k][c], x[r][c]);
        }
        const typename L::Reg diagonal = a.get(i + r, i + r);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
            if (!unit) x[r][c] = x[r][c] / diagonal;
            b.set(i + r, j + c, x[r][c]);
        }
    }
}

/// b (n, m) becomes the x of a x = b, a lower triangular: an element is the start of one chain x = fma(-a[i, k], x[k],
/// x) over k = 0, ..., i - 1, and is then divided by the diagonal.
template <class L>
void solve_lower(const Matrices<L>& a, const Matrices<L>& b, std::int64_t n, std::int64_t m, bool unit) {
    constexpr int B = L::kTile;
    std::int64_t i = 0;
    for (; i + B <= n; i += B) {
        std::int64_t j = 0;
        for (; j + B <= m; j += B) solve_tile<L, B, B>(a, b, i, j, unit);
        for (; j < m; ++j) solve_tile<L, B, 1>(a, b, i, j, unit);
    }
    for (; i < n; ++i)
        for (std::int64_t j = 0; j < m; ++j) solve_tile<L, 1, 1>(a, b, i, j, unit);
}

}  // namespace
}  // namespace tenon::factorization
