// The singular value decomposition of square matrices X: the eigenvectors V of X^T X make the columns of X V
// orthogonal, as far as squares can tell; rotations do the rest (one-sided Jacobi: Hestenes, 1958); and reflectors make
// orthonormal vectors of them, whatever the rank: X V = U R, where R is diagonal except for rounding errors.
#pragma once

#include "factorization/eigh.h"

namespace tenon::factorization {
namespace {

template <class L>
TENON_INLINE typename L::Reg dot_rows(const Matrices<L>& x, std::int64_t p, std::int64_t q, std::int64_t n) {
    // Four chains: a single one would wait for itself.
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

/// Rotates the rows of y (n, n), and with them those of v, until no two rows of y have a significant product: the
/// product divided by the longer row's length is an element of R. `norms` of n receives the squares of the rows'
/// lengths. Returns the lanes that have not converged.
template <class L>
typename L::Mask orthogonalize_rows(const Matrices<L>& y, const Matrices<L>& v, std::int64_t n,
                                    typename L::Element* norms) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    constexpr std::int64_t S = L::kLanes;
    constexpr int kMaxSweeps = 40;  // two are usual; the second one finds nothing
    const Reg zero = L::set(T(0)), one = L::set(T(1));
    const Reg tolerance = L::set(4 * Limits<T>::kEpsilon * Limits<T>::kEpsilon * static_cast<T>(n));
    typename L::Mask rotated = L::none();
    for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
        rotated = L::none();
        Reg largest = zero;
        for (std::int64_t i = 0; i < n; ++i) {
            const Reg square = dot_rows(y, i, i, n);
            L::store(norms + i * S, square);
            largest = larger<L>(square, largest);
        }
        const Reg bound = tolerance * largest;
        for (std::int64_t p = 0; p + 1 < n; ++p)
            for (std::int64_t q = p + 1; q < n; ++q) {
                const Reg alpha = L::load(norms + p * S), beta = L::load(norms + q * S), gamma = dot_rows(y, p, q, n);
                const auto turn = gamma * gamma > bound * larger<L>(alpha, beta);
                if (!L::any(turn)) continue;
                rotated = L::either(rotated, turn);
                const Reg zeta = (beta - alpha) / (L::set(T(2)) * L::select(turn, gamma, one));
                const Reg tangent = L::copysign(one / (L::abs(zeta) + L::sqrt(L::fma(zeta, zeta, one))), zeta);
                const Reg cosine = one / L::sqrt(L::fma(tangent, tangent, one));
                const Reg c = L::select(turn, cosine, one), s = L::select(turn, cosine * tangent, zero);
                rotate_pair(y, p, q, n, c, s);
                rotate_pair(v, p, q, n, c, s);
                const Reg moved = L::select(turn, tangent * gamma, zero);
                L::store(norms + p * S, alpha - moved);
                L::store(norms + q * S, beta + moved);
            }
        if (!L::any(rotated)) break;
    }
    return rotated;
}

/// Sorts the rows of y and v (n, n), and norms, by descending norms, in each lane separately.
template <class L>
void sort_rows(const Matrices<L>& y, const Matrices<L>& v, std::int64_t n, typename L::Element* norms) {
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
            for (std::int64_t j = 0; j < n; ++j) {
                exchange(y.at(k, j)[lane], y.at(best, j)[lane]);
                exchange(v.at(k, j)[lane], v.at(best, j)[lane]);
            }
        }
}

/// X (n, n), with its largest element near 1: the singular values, nearly in descending order, in `values`, V^T in v, U
/// in u if `vectors`. X is overwritten; g is scratch of the same size. Returns the lanes that have not converged.
template <class L>
typename L::Mask solve_square(const Matrices<L>& x, std::int64_t n, const Matrices<L>& g, const Matrices<L>& u,
                              const Matrices<L>& v, bool vectors, typename L::Element* values,
                              const EighMemory<L>& memory) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    const auto column = [&](std::int64_t i, std::int64_t k) { return x.get(k, i); };
    multiply(
        g, n, n, n, column, [&](std::int64_t k, std::int64_t j) { return x.get(k, j); }, true);
    solve_symmetric(g, n, u, true, memory);  // a start; the rotations do the rest
    // Rows of V^T and of (X V)^T, the last eigenvector first: most are ascending.
    const auto vector = [&](std::int64_t i, std::int64_t k) { return u.get(k, n - 1 - i); };
    multiply(g, n, n, n, vector, [&](std::int64_t k, std::int64_t j) { return x.get(j, k); });
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) v.set(i, j, vector(i, j));
    const auto unfinished = orthogonalize_rows(g, v, n, values);
    sort_rows(g, v, n, values);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) x.set(i, j, g.get(j, i));
    factor_qr(x, n, n, memory.taus);
    if (vectors) form_q(x, 0, n, memory.taus, u, n, n);
    const Reg zero = L::set(T(0));
    for (std::int64_t j = 0; j < n; ++j) {
        const Reg r = x.get(j, j);
        L::store(values + j * L::kLanes, L::abs(r));
        for (std::int64_t i = 0; vectors && i < n; ++i) u.set(i, j, L::select(r < zero, -u.get(i, j), u.get(i, j)));
    }
    return unfinished;
}

}  // namespace
}  // namespace tenon::factorization
