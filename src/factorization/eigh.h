// Eigenvalues and eigenvectors of symmetric matrices: reduction to a tridiagonal matrix by reflectors, then the
// implicit QL iteration (Francis, 1961; Dubrulle, Martin and Wilkinson, 1968). Every lane takes the steps of its own
// matrix; a lane that has finished earlier applies rotations by angle zero.
#pragma once

#include "factorization/householder.h"

namespace tenon::factorization {
namespace {

/// R elements of w = tau A v from i, with A from (first, first).
template <class L, int R>
TENON_INLINE void multiply_rows(const Matrices<L>& a, std::int64_t first, std::int64_t m, typename L::Reg tau,
                                const typename L::Element* v, typename L::Element* w, std::int64_t i) {
    using Reg = typename L::Reg;
    Reg sum[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r] = L::set(0);
    for (std::int64_t j = 0; j < m; ++j) {
        const Reg y = L::load(v + j * L::kLanes);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) sum[r] = L::fma(a.get(first + i + r, first + j), y, sum[r]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) L::store(w + (i + r) * L::kLanes, sum[r] * tau);
}

/// R rows of A -= v w^T + w v^T from i.
template <class L, int R>
TENON_INLINE void subtract_rows(const Matrices<L>& a, std::int64_t first, std::int64_t m, const typename L::Element* v,
                                const typename L::Element* w, std::int64_t i) {
    using Reg = typename L::Reg;
    Reg vi[R], wi[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) vi[r] = -L::load(v + (i + r) * L::kLanes), wi[r] = -L::load(w + (i + r) * L::kLanes);
    for (std::int64_t j = 0; j < m; ++j) {
        const Reg vj = L::load(v + j * L::kLanes), wj = L::load(w + j * L::kLanes);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
            a.set(first + i + r, first + j, L::fma(wi[r], vj, L::fma(vi[r], wj, a.get(first + i + r, first + j))));
    }
}

/// The lower triangle of a, completed, becomes tridiagonal: diagonal d, below it e[0], ..., e[n - 2]. The reflectors'
/// vectors remain in a from (k + 1, k), their factors go to taus. `v` and `w` are scratch of n.
template <class L>
void reduce_to_tridiagonal(const Matrices<L>& a, std::int64_t n, typename L::Element* d, typename L::Element* e,
                           typename L::Element* taus, typename L::Element* v, typename L::Element* w) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    constexpr std::int64_t S = L::kLanes;
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < i; ++j) a.set(j, i, a.get(i, j));
    for (std::int64_t k = 0; k + 1 < n; ++k) {
        const std::int64_t first = k + 1, m = n - first;
        const Column<L> x(a, first, k, m);
        const Reg tau = make_reflector(x);
        L::store(taus + k * S, tau);
        L::store(d + k * S, a.get(k, k));
        L::store(e + k * S, x.get(0));
        L::store(v, L::set(T(1)));
        for (std::int64_t i = 1; i < m; ++i) L::store(v + i * S, x.get(i));
        // w = y - (tau/2 y . v) v with y = tau A v.
        std::int64_t i = 0;
        for (; i + 4 <= m; i += 4) multiply_rows<L, 4>(a, first, m, tau, v, w, i);
        for (; i < m; ++i) multiply_rows<L, 1>(a, first, m, tau, v, w, i);
        Reg dot = L::set(T(0));
        for (i = 0; i < m; ++i) dot = L::fma(L::load(w + i * S), L::load(v + i * S), dot);
        const Reg half = L::set(T(-0.5)) * tau * dot;
        for (i = 0; i < m; ++i) L::store(w + i * S, L::fma(half, L::load(v + i * S), L::load(w + i * S)));
        for (i = 0; i + 4 <= m; i += 4) subtract_rows<L, 4>(a, first, m, v, w, i);
        for (; i < m; ++i) subtract_rows<L, 1>(a, first, m, v, w, i);
    }
    if (n > 0) L::store(d + (n - 1) * S, a.get(n - 1, n - 1));
}

/// Rows of z times the rotations of columns i and i + 1 for i = last, ..., first: new column i + 1 = s z[i] + c z[i +
/// 1], column i = c z[i] - s z[i + 1].
template <class L, int R>
TENON_INLINE void rotate_rows(const Matrices<L>& z, std::int64_t row, std::int64_t first, std::int64_t last,
                              const typename L::Element* c, const typename L::Element* s) {
    using Reg = typename L::Reg;
    Reg right[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) right[r] = z.get(row + r, last + 1);
    for (std::int64_t i = last; i >= first; --i) {
        const Reg ci = L::load(c + i * L::kLanes), si = L::load(s + i * L::kLanes);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            const Reg left = z.get(row + r, i);
            z.set(row + r, i + 1, L::fma(si, left, ci * right[r]));
            right[r] = L::fma(ci, left, -(si * right[r]));
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) z.set(row + r, first, right[r]);
}

/// One round of the iteration: in each lane, a step on the first block that is not yet diagonal.
template <class L>
class TridiagonalRound {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    using Mask = typename L::Mask;
    static constexpr std::int64_t S = L::kLanes;

  public:
    TridiagonalRound(T* d, T* e, T* c, T* s, std::int64_t n) : d_(d), e_(e), c_(c), s_(s), n_(n) {}

    /// Finds the blocks; returns false if all lanes are diagonal. Elements that are negligible, compared with their
    /// neighbours or with the largest element of the matrix, which is at least 1, become 0.
    bool find() {
        const Reg zero = L::set(T(0)), epsilon = L::set(Limits<T>::kEpsilon);
        begin_ = L::set(static_cast<T>(n_)), end_ = L::set(static_cast<T>(n_ - 1));
        active_ = L::none();
        Reg end = end_;
        first_ = n_, last_ = -1;
        for (std::int64_t i = n_ - 2; i >= 0; --i) {
            const Reg x = L::abs(at(e_, i)), beside = L::abs(at(d_, i)) + L::abs(at(d_, i + 1));
            const Mask small = L::either(x <= epsilon * beside, x <= epsilon);
            L::store(e_ + i * S, L::select(small, zero, at(e_, i)));
            end = L::select(small, L::set(static_cast<T>(i)), end);
            begin_ = L::select(small, begin_, L::set(static_cast<T>(i)));
            end_ = L::select(small, end_, end);
            const Mask here = L::negated(small);
            if (L::any(here)) first_ = i, last_ = last_ < 0 ? i : last_;
            active_ = L::either(active_, here);
        }
        return last_ >= 0;
    }

    void step() {
        // Wilkinson's shift, from the block's first two elements.
        Reg d0{}, d1 = L::set(T(1)), e0 = L::set(T(1));
        for (std::int64_t i = first_; i <= last_; ++i) {
            const Mask here = begin_ == L::set(static_cast<T>(i));
            d0 = L::select(here, at(d_, i), d0);
            d1 = L::select(here, at(d_, i + 1), d1);
            e0 = L::select(here, at(e_, i), e0);
        }
        const Reg one = L::set(T(1)), zero = L::set(T(0));
        const Reg q = (d1 - d0) / (L::set(T(2)) * e0);
        const Reg shift = d0 - e0 / (q + L::copysign(L::sqrt(L::fma(q, q, one)), q));
        Reg g = zero, s = one, c = one, p = zero;
        Mask open = active_;
        for (std::int64_t i = last_; i >= first_; --i) {
            const Reg index = L::set(static_cast<T>(i));
            g = L::select(end_ == L::set(static_cast<T>(i + 1)), at(d_, i + 1) - shift, g);
            const Mask in = L::both(open, L::both(index < end_, index >= begin_));
            const Reg f = s * at(e_, i), b = c * at(e_, i);
            // The length of (f, g); their squares neither vanish nor overflow.
            const Reg size = larger<L>(L::abs(f), L::abs(g));
            const Reg up = L::select(size < L::set(Limits<T>::kSmall), L::set(Limits<T>::kUp), one);
            const Reg fu = f * up, gu = g * up, r = L::sqrt(L::fma(fu, fu, gu * gu));
            // Nothing is left: the block splits here.
            const Mask lost = L::both(in, L::negated(size > L::set(Limits<T>::kNothing)));
            const Mask turn = L::both(in, L::negated(lost));
            const Reg inverse = one / r;
            const Reg sn = fu * inverse, cn = gu * inverse;
            const Reg length = r / up;
            // The element above the block does not belong to it.
            if (i + 1 < n_ - 1)
                L::store(e_ + (i + 1) * S, L::select(L::both(in, L::set(static_cast<T>(i + 1)) < end_),
                                                     L::select(lost, zero, length), at(e_, i + 1)));
            const Reg x = at(d_, i + 1) - p;
            const Reg t = L::fma(at(d_, i) - x, sn, L::set(T(2)) * cn * b);
            const Reg pn = sn * t;
            L::store(d_ + (i + 1) * S, L::select(turn, x + pn, L::select(lost, x, at(d_, i + 1))));
            p = L::select(turn, pn, p);
            g = L::select(turn, L::fma(cn, t, -b), g);
            s = L::select(turn, sn, s);
            c = L::select(turn, cn, c);
            L::store(c_ + i * S, L::select(turn, cn, one));
            L::store(s_ + i * S, L::select(turn, sn, zero));
            open = L::both(open, L::negated(lost));
            const Mask done = L::both(open, begin_ == index);
            L::store(d_ + i * S, L::select(done, at(d_, i) - p, at(d_, i)));
            L::store(e_ + i * S, L::select(done, g, at(e_, i)));
        }
    }

    void rotate(const Matrices<L>& z, std::int64_t rows) const {
        std::int64_t i = 0;
        for (; i + 4 <= rows; i += 4) rotate_rows<L, 4>(z, i, first_, last_, c_, s_);
        for (; i < rows; ++i) rotate_rows<L, 1>(z, i, first_, last_, c_, s_);
    }

    /// The lanes that are not yet diagonal.
    Mask active() const { return active_; }

  private:
    TENON_INLINE static Reg at(const T* x, std::int64_t i) { return L::load(x + i * S); }

    T *d_, *e_, *c_, *s_;
    std::int64_t n_, first_ = 0, last_ = -1;
    Reg begin_{}, end_{};  // of each lane's block: rows begin, ..., end
    Mask active_ = L::none();
};

/// The tridiagonal matrix becomes diagonal, d; z (rows, n) is multiplied by its eigenvectors. Returns the lanes that
/// have not converged after many rounds.
template <class L>
typename L::Mask iterate_tridiagonal(typename L::Element* d, typename L::Element* e, typename L::Element* c,
                                     typename L::Element* s, std::int64_t n, const Matrices<L>& z, std::int64_t rows) {
    TridiagonalRound<L> round(d, e, c, s, n);
    // Two rounds for each eigenvalue are usual.
    for (std::int64_t rounds = 0; rounds < 60 * n && round.find(); ++rounds) {
        round.step();
        if (rows > 0) round.rotate(z, rows);
    }
    round.find();
    return round.active();
}

/// Scratch for five vectors of n in each lane.
template <class L>
struct EighMemory {
    typename L::Element *d, *e, *taus, *v, *w;
    EighMemory(Memory<L>& memory, std::int64_t n)
        : d(memory.vector(n)), e(memory.vector(n)), taus(memory.vector(n)), v(memory.vector(n)), w(memory.vector(n)) {}
};

/// The eigenvalues, in no order, in memory.d and, if `vectors`, the eigenvectors as columns of z, for a matrix whose
/// lower triangle is in a and whose largest element is near 1 or above. Returns the lanes that have not converged.
template <class L>
typename L::Mask solve_symmetric(const Matrices<L>& a, std::int64_t n, const Matrices<L>& z, bool vectors,
                                 const EighMemory<L>& memory) {
    reduce_to_tridiagonal(a, n, memory.d, memory.e, memory.taus, memory.v, memory.w);
    if (vectors) form_q(a, 1, n - 1, memory.taus, z, n, n);
    return iterate_tridiagonal(memory.d, memory.e, memory.v, memory.w, n, z, vectors ? n : 0);
}

}  // namespace
}  // namespace tenon::factorization
