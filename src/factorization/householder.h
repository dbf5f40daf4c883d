// Reflectors H = I - tau v v^T with v[0] = 1 (Householder, 1958), as in LAPACK: H x = (beta, 0, ..., 0), where beta has
// the opposite sign of x[0].
#pragma once

#include "factorization/lanes.h"

namespace tenon::factorization {
namespace {

/// A column's elements, one below the other.
template <class L>
struct Column {
    typename L::Element* data;
    std::int64_t step, count;  // step in memory, of all lanes

    TENON_INLINE Column(const Matrices<L>& a, std::int64_t i, std::int64_t j, std::int64_t n)
        : data(a.at(i, j)), step(a.step * L::kLanes), count(n) {}
    TENON_INLINE typename L::Reg get(std::int64_t i) const { return L::load(data + i * step); }
    TENON_INLINE void set(std::int64_t i, typename L::Reg x) const { L::store(data + i * step, x); }
};

/// x becomes (beta, v[1], ...). Returns tau: 0 if only the first element of x is not 0. x is scaled by a power of two
/// that brings its largest element to 1, so that squares neither overflow nor vanish.
template <class L>
TENON_INLINE typename L::Reg make_reflector(const Column<L>& x) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    const Reg zero = L::set(T(0)), one = L::set(T(1));
    Reg largest = zero;
    for (std::int64_t i = 0; i < x.count; ++i) largest = larger<L>(L::abs(x.get(i)), largest);
    Reg scale = larger<L>(L::power(largest), L::set(Limits<T>::kNormal));
    const Reg down = one / scale;
    Reg sum = zero;
    for (std::int64_t i = 1; i < x.count; ++i) {
        const Reg y = x.get(i) * down;
        sum = L::fma(y, y, sum);
    }
    const Reg first = x.get(0), alpha = first * down;
    const Reg beta = -L::copysign(L::sqrt(L::fma(alpha, alpha, sum)), alpha);
    const auto alone = sum == zero;
    const Reg factor = L::select(alone, zero, one / (alpha - beta));
    for (std::int64_t i = 1; i < x.count; ++i) x.set(i, x.get(i) * down * factor);
    x.set(0, L::select(alone, first, beta * scale));
    return L::select(alone, zero, (beta - alpha) / beta);
}

/// C columns of a from (i, j) are multiplied by H; v[0] = 1 is not read.
template <class L, int C>
TENON_INLINE void reflect_tile(const Column<L>& v, typename L::Reg tau, const Matrices<L>& a, std::int64_t i,
                               std::int64_t j) {
    typename L::Reg w[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) w[c] = a.get(i, j + c);
    for (std::int64_t r = 1; r < v.count; ++r) {
        const typename L::Reg x = v.get(r);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) w[c] = L::fma(x, a.get(i + r, j + c), w[c]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
        w[c] = w[c] * tau;
        a.set(i, j + c, a.get(i, j + c) - w[c]);
        w[c] = -w[c];
    }
    for (std::int64_t r = 1; r < v.count; ++r) {
        const typename L::Reg x = v.get(r);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) a.set(i + r, j + c, L::fma(x, w[c], a.get(i + r, j + c)));
    }
}

/// Columns begin, ..., end - 1, from row i on.
template <class L>
TENON_INLINE void reflect(const Column<L>& v, typename L::Reg tau, const Matrices<L>& a, std::int64_t i,
                          std::int64_t begin, std::int64_t end) {
    std::int64_t j = begin;
    for (; j + 4 <= end; j += 4) reflect_tile<L, 4>(v, tau, a, i, j);
    for (; j < end; ++j) reflect_tile<L, 1>(v, tau, a, i, j);
}

/// Columns that are processed together: they stay in the nearest cache while the reflectors are applied.
inline constexpr std::int64_t kPanel = 4;

/// The Householder factorization: R on and above the diagonal of a (m, n), the vectors below, `taus` of min(m, n).
template <class L>
void factor_qr(const Matrices<L>& a, std::int64_t m, std::int64_t n, typename L::Element* taus) {
    const std::int64_t reflectors = m < n ? m : n;
    for (std::int64_t j0 = 0; j0 < n; j0 += kPanel) {
        const std::int64_t end = j0 + kPanel < n ? j0 + kPanel : n;
        for (std::int64_t k = 0; k < (j0 < reflectors ? j0 : reflectors); ++k)
            reflect(Column<L>(a, k, k, m - k), L::load(taus + k * L::kLanes), a, k, j0, end);
        for (std::int64_t k = j0; k < (end < reflectors ? end : reflectors); ++k) {
            const Column<L> x(a, k, k, m - k);
            const typename L::Reg tau = make_reflector(x);
            L::store(taus + k * L::kLanes, tau);
            reflect(x, tau, a, k, k + 1, end);
        }
    }
}

/// Multiplies q (m, columns) from the left by the product of `count` reflectors, whose vectors are in a from (`first` +
/// k, k), with k the index of a reflector. If `triangular`, column j of q is known to be zero below row j.
template <class L>
void apply_q(const Matrices<L>& a, std::int64_t first, std::int64_t count, const typename L::Element* taus,
             const Matrices<L>& q, std::int64_t m, std::int64_t columns, bool triangular) {
    for (std::int64_t j0 = 0; j0 < columns; j0 += kPanel) {
        const std::int64_t end = j0 + kPanel < columns ? j0 + kPanel : columns;
        for (std::int64_t k = (triangular && end - first < count ? end - first : count) - 1; k >= 0; --k) {
            const std::int64_t i = first + k;
            reflect(Column<L>(a, i, k, m - i), L::load(taus + k * L::kLanes), q, i, j0, end);
        }
    }
}

/// The first `columns` columns of that product.
template <class L>
void form_q(const Matrices<L>& a, std::int64_t first, std::int64_t count, const typename L::Element* taus,
            const Matrices<L>& q, std::int64_t m, std::int64_t columns) {
    using T = typename L::Element;
    for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < columns; ++j) q.set(i, j, L::set(i == j ? T(1) : T(0)));
    apply_q(a, first, count, taus, q, m, columns, true);
}

}  // namespace
}  // namespace tenon::factorization
