// The singular value decomposition of matrices with at least as many rows as columns: A = Q R, then rotations from the
// left make the rows of R orthogonal (one-sided Jacobi: Hestenes, 1958; of the triangle: Drmac and Veselic, 2008), and
// their own factorization by reflectors gives orthonormal vectors whatever the rank.
#pragma once

#include "factorization/householder.h"

namespace tenon::factorization {
namespace {

template <class L>
TENON_INLINE typename L::Reg dot_rows(const Matrices<L>& x, std::int64_t p, std::int64_t q, std::int64_t n) {
    // Four chains: one would wait for itself.
    typename L::Reg sum[4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sum[c] = L::set(0);
    std::int64_t i = 0;
    for (; i + 4 <= n; i += 4)
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) sum[c] = L::fma(x.get(p, i + c), x.get(q, i + c), sum[c]);
    for (; i < n; ++i) sum[0] = L::fma(x.get(p, i), x.get(q, i), sum[0]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/// Row p = c p - s q, row q = s p + c q.
template <class L>
TENON_INLINE void rotate_pair(const Matrices<L>& x, std::int64_t p, std::int64_t q, std::int64_t n, typename L::Reg c,
                              typename L::Reg s) {
    for (std::int64_t i = 0; i < n; ++i) {
        const typename L::Reg a = x.get(p, i), b = x.get(q, i);
        x.set(p, i, L::fma(c, a, -(s * b)));
        x.set(q, i, L::fma(s, a, c * b));
    }
}

/// Rotations of the rows of x (n, n), and with them of g (n, m), until those of x are orthogonal. A row that is nothing
/// beside the largest is left as it is. `norms` of n receives the squares of the rows' lengths.
template <class L>
void orthogonalize_rows(const Matrices<L>& x, std::int64_t n, const Matrices<L>& g, std::int64_t m,
                        typename L::Element* norms) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    constexpr std::int64_t S = L::kLanes;
    constexpr int kMostSweeps = 40;  // eight are usual
    const Reg zero = L::set(T(0)), one = L::set(T(1));
    const Reg tolerance = L::set(2 * Limits<T>::kEpsilon) * L::sqrt(L::set(static_cast<T>(n)));
    for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
        bool turned = false;
        Reg largest = zero;
        for (std::int64_t i = 0; i < n; ++i) {
            const Reg square = dot_rows(x, i, i, n);
            L::store(norms + i * S, square);
            largest = larger<L>(square, largest);
        }
        const Reg nothing = largest * L::set(Limits<T>::kEpsilon * Limits<T>::kEpsilon / 16);
        for (std::int64_t p = 0; p + 1 < n; ++p)
            for (std::int64_t q = p + 1; q < n; ++q) {
                const Reg alpha = L::load(norms + p * S), beta = L::load(norms + q * S), gamma = dot_rows(x, p, q, n);
                const auto turn = L::both(L::both(alpha > nothing, beta > nothing),
                                          L::abs(gamma) > tolerance * L::sqrt(alpha) * L::sqrt(beta));
                if (!L::any(turn)) continue;
                turned = true;
                const Reg zeta = (beta - alpha) / (L::set(T(2)) * L::select(turn, gamma, one));
                const Reg tangent = L::copysign(one / (L::abs(zeta) + L::sqrt(L::fma(zeta, zeta, one))), zeta);
                const Reg cosine = one / L::sqrt(L::fma(tangent, tangent, one));
                const Reg c = L::select(turn, cosine, one), s = L::select(turn, cosine * tangent, zero);
                rotate_pair(x, p, q, n, c, s);
                if (m > 0) rotate_pair(g, p, q, m, c, s);
                const Reg moved = L::select(turn, tangent * gamma, zero);
                L::store(norms + p * S, alpha - moved);
                L::store(norms + q * S, beta + moved);
            }
        if (!turned) break;
    }
}

/// The rows of x (n, n) and g (n, m), and norms, in order of descending norms, in each lane its own.
template <class L>
void sort_rows(const Matrices<L>& x, std::int64_t n, const Matrices<L>& g, std::int64_t m, typename L::Element* norms) {
    using T = typename L::Element;
    constexpr std::int64_t S = L::kLanes;
    const auto exchange = [](T& a, T& b) {
        const T t = a;
        a = b;
        b = t;
    };
    for (std::int64_t lane = 0; lane < S; ++lane)
        for (std::int64_t k = 0; k + 1 < n; ++k) {
            std::int64_t best = k;
            for (std::int64_t i = k + 1; i < n; ++i)
                if (norms[i * S + lane] > norms[best * S + lane]) best = i;
            if (best == k) continue;
            exchange(norms[k * S + lane], norms[best * S + lane]);
            for (std::int64_t j = 0; j < n; ++j) exchange(x.at(k, j)[lane], x.at(best, j)[lane]);
            for (std::int64_t j = 0; j < m; ++j) exchange(g.at(k, j)[lane], g.at(best, j)[lane]);
        }
}

}  // namespace
}  // namespace tenon::factorization
