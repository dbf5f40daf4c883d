// The roots of the secular equation of divide and conquer, and the eigenvectors from them: a vector of differences at a
// time, on all threads; the reference computes one difference after the other. As in the reference, weights are
// computed again from the roots, so that eigenvectors are orthogonal (Gu and Eisenstat 1994).
#include <atomic>

#include "lapack/copy.h"
#include "lapack/or_end.h"
#include "lapack/secular.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

template <class T>
T largest_of(int n, const T* d, T rho) {
    return std::max({std::abs(d[0]), std::abs(d[n - 1]), rho});
}

/// Root i of n >= 2 poles.
template <class T>
int laed4(int n, int i, const T* d, const T* z, T* delta, T rho, T* root) {
    Scratch room(static_cast<std::size_t>(Poles<T>::elements(n)) * sizeof(T));
    const Poles<T> p(n, d, z, rho, largest_of(n, d, rho), 1, room.take<T>(Poles<T>::elements(n)));
    const bool found = SecularEquation<T, false>(n, p.d, p.z, p.rho).solve(i, delta, nullptr, root);
    for (int j = 0; j < n; ++j) delta[j] *= p.scale;
    *root *= p.scale;
    return found ? 0 : 1;
}

/// k of n eigenvectors from those of two halves, the first of n1 rows. q2 holds the nonzero parts of these. ctot counts
/// their kinds: nonzero in the upper half alone, in both halves, in the lower half alone.
template <class T>
int laed3(int k, int n, int n1, T* d, T* q, int ldq, T rho, const T* poles, const T* q2, const int* index,
          const int* ctot, const T* weights) {
    const int info = check<T>("LAED3", {{1, k >= 0}, {2, n >= k}, {6, holds_rows(ldq, n)}});
    if (info != 0 || k == 0) return info;
    const int n2 = n - n1, upper_rows = ctot[0] + ctot[1], lower_rows = ctot[1] + ctot[2];
    const int ldu = upper_rows + 8, ldl = lower_rows + 8;
    const std::int64_t step = ldq, padded = padded_poles<T>(k);
    Scratch room(
        static_cast<std::size_t>(Poles<T>::elements(k) + padded + std::int64_t{ldu} * k + std::int64_t{ldl} * k + 256) *
        sizeof(T));
    const Poles<T> p(k, poles, weights, rho, largest_of(k, poles, rho), 1, room.take<T>(Poles<T>::elements(k)));
    T *const w = room.take<T>(padded), *const upper = room.take<T>(std::int64_t{ldu} * k),
             *const lower = room.take<T>(std::int64_t{ldl} * k);
    if (k == 1) {
        d[0] = poles[0] + rho * weights[0] * weights[0];
        w[0] = 1, q[0] = 1;
    } else {
        std::atomic<bool> found{true};
        const SecularEquation<T, false> equation(k, p.d, p.z, p.rho);
        for_each_root(k, 8 * k, [&](int j) {
            if (!equation.solve(j, q + j * step, nullptr, d + j)) found = false;
            d[j] *= p.scale;
        });
        if (!found) return 1;
        find_weights<T>(k, {q, step}, {nullptr, 0}, p, w);
    }
    for_each_root(k, 4 * k, [&](int j) {
        T* const x = q + j * step;
        kernels().of<T>().divide_by_poles(k, w, x, nullptr, x);
        const T length = length_of(k, x);
        for (int i = 0; i < upper_rows; ++i) upper[i + std::int64_t{j} * ldu] = x[index[i] - 1] / length;
        for (int i = 0; i < lower_rows; ++i) lower[i + std::int64_t{j} * ldl] = x[index[ctot[0] + i] - 1] / length;
    });
    // gemm of no rows but beta = 0 writes zeros.
    gemm_apart(n2, k, lower_rows, q2 + std::int64_t{n1} * upper_rows, std::max(1, n2), lower, ldl, T(0), q + n1, ldq);
    gemm_apart(n1, k, upper_rows, q2, std::max(1, n1), upper, ldu, T(0), q, ldq);
    return 0;
}

}  // namespace

extern "C" {
#define TENON_DEFINE(x, T)                                                                                             \
    void TENON_SYMBOL(x##laed5_)(Int, const T*, const T*, T*, const T*, T*);                                           \
    TENON_LAPACK_API void TENON_SYMBOL(x##laed3_)(Int k, Int n, Int n1, T * d, T * q, Int ldq, const T* rho,           \
                                                  const T* poles, const T* q2, const int* index, const int* ctot,      \
                                                  const T* weights, T*, int* info) {                                   \
        *info =                                                                                                        \
            or_end(#x "laed3", [&] { return laed3(*k, *n, *n1, d, q, *ldq, *rho, poles, q2, index, ctot, weights); }); \
    }                                                                                                                  \
    TENON_LAPACK_API void TENON_SYMBOL(x##laed4_)(Int n, Int i, const T* d, const T* z, T* delta, const T* rho,        \
                                                  T* root, int* info) {                                                \
        *info = 0;                                                                                                     \
        if (*n == 1)                                                                                                   \
            *root = d[0] + *rho * z[0] * z[0], delta[0] = 1;                                                           \
        else if (*n == 2) /* what it gives are vectors */                                                              \
            TENON_SYMBOL(x##laed5_)(i, d, z, delta, rho, root);                                                        \
        else                                                                                                           \
            *info = or_end(#x "laed4", [&] { return laed4(*n, *i - 1, d, z, delta, *rho, root); });                    \
    }
TENON_DEFINE(s, float)
TENON_DEFINE(d, double)
#undef TENON_DEFINE
}

}  // namespace tenon::lapack
