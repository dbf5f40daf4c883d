// The same as laed3 for singular values and vectors: roots of the secular equation in squares.
#include <atomic>

#include "lapack/copy.h"
#include "lapack/or_end.h"
#include "lapack/secular.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

/// Root i of n >= 2 poles.
template <class T>
int lasd4(int n, int i, const T* d, const T* z, T* minus, T rho, T* root, T* plus) {
    Scratch room(static_cast<std::size_t>(Poles<T>::elements(n)) * sizeof(T));
    const Poles<T> p(n, d, z, rho, std::max(d[n - 1], std::sqrt(rho)), 2, room.take<T>(Poles<T>::elements(n)));
    const bool found = SecularEquation<T, true>(n, p.d, p.z, p.rho).solve(i, minus, plus, root);
    for (int j = 0; j < n; ++j) minus[j] *= p.scale, plus[j] *= p.scale;
    *root *= p.scale;
    return found ? 0 : 1;
}

template <class T>
struct Matrix {
    T* data;
    std::int64_t ld;

    T* at(std::int64_t i, std::int64_t j) const { return data + i + j * ld; }
    int step() const { return static_cast<int>(ld); }
};

/// The left vectors, nl + 1 + nr rows: u = u2 q, from the nonzero parts of u2. Its first column has a one in the middle
/// row. ctot counts the kinds of the others: nonzero in the upper rows alone, in the lower rows alone, in both.
template <class T>
void multiply_left(int nl, int nr, int k, const int* ctot, Matrix<const T> u2, Matrix<T> q, Matrix<T> u) {
    const int lower = 1 + ctot[0], both = lower + ctot[1];
    const auto add = [&](int rows, int row, int columns, int first, T beta) {
        gemm_apart(rows, k, columns, u2.at(row, first), u2.step(), q.at(first, 0), q.step(), beta, u.at(row, 0),
                   u.step());
    };
    add(nl, 0, ctot[0], 1, T(0));
    if (ctot[2] > 0) add(nl, 0, ctot[2], both, T(1));
    for (int j = 0; j < k; ++j) *u.at(nl, j) = *q.at(0, j);
    add(nr, nl + 1, ctot[1] + ctot[2], lower, T(0));
}

/// The transposes of the right ones: vt = q^T vt2, the rows of vt2 like u2's columns; its first one is whole.
template <class T>
void multiply_right(int nl, int columns, int k, const int* ctot, Matrix<T> q, Matrix<T> vt2, Matrix<T> vt) {
    const int upper = 1 + ctot[0], both = upper + ctot[1];
    const auto add = [&](int count, int column, int rows, int first, T beta) {
        gemm('T', 'N', k, count, rows, T(1), q.at(first, 0), q.step(), vt2.at(first, column), vt2.step(), beta,
             vt.at(0, column), vt.step());
    };
    add(nl + 1, 0, upper, 0, T(0));
    if (ctot[2] > 0) add(nl + 1, 0, ctot[2], both, T(1));
    // The first row beside those of the lower half: it takes the place of the last upper one, which is no longer used.
    const int first = upper - 1;
    if (first > 0) {
        for (int j = 0; j < k; ++j) *q.at(first, j) = *q.at(0, j);
        for (int j = nl + 1; j < nl + 1 + columns; ++j) *vt2.at(first, j) = *vt2.at(0, j);
    }
    add(columns, nl + 1, 1 + ctot[1] + ctot[2], first, T(0));
}

/// A root's singular vectors in the basis of the poles, from the weights: columns j of left and right.
template <class T>
void find_vectors(int k, const T* d, const T* w, const int* index, const T* minus, const T* plus, T* room, T* left,
                  T* right) {
    T *const v = room, *const u = room + padded_poles<T>(k);
    kernels().of<T>().divide_by_poles(k, w, minus, plus, v);
    for (int i = 0; i < k; ++i) u[i] = d[i] * v[i];
    u[0] = -1;
    const T length_u = length_of(k, u), length_v = length_of(k, v);
    left[0] = u[0] / length_u, right[0] = v[0] / length_v;
    for (int i = 1; i < k; ++i) left[i] = u[index[i] - 1] / length_u, right[i] = v[index[i] - 1] / length_v;
}

template <class T>
int lasd3(int nl, int nr, int sqre, int k, T* d, int ldq, const T* poles, Matrix<T> u, Matrix<const T> u2, Matrix<T> vt,
          Matrix<T> vt2, const int* index, const int* ctot, const T* weights) {
    const int n = nl + nr + 1, m = n + sqre;
    const int info = check<T>("LASD3", {{1, nl >= 1},
                                        {2, nr >= 1},
                                        {3, sqre == 0 || sqre == 1},
                                        {4, k >= 1 && k <= n},
                                        {7, ldq >= k},
                                        {10, u.ld >= n},
                                        {12, u2.ld >= n},
                                        {14, vt.ld >= m},
                                        {16, vt2.ld >= m}});
    if (info != 0) return info;
    if (k == 1) {
        d[0] = std::abs(weights[0]);
        for (int j = 0; j < m; ++j) *vt.at(0, j) = *vt2.at(0, j);
        for (int i = 0; i < n; ++i) *u.at(i, 0) = weights[0] > 0 ? *u2.at(i, 0) : -*u2.at(i, 0);
        return 0;
    }
    const std::int64_t padded = padded_poles<T>(k), ld = padded + 8;
    Scratch room(static_cast<std::size_t>(Poles<T>::elements(k) + 2 * padded + 2 * ld * k + 256) * sizeof(T));
    T *const own = room.take<T>(Poles<T>::elements(k)), *const z = room.take<T>(padded),
             *const w = room.take<T>(padded);
    const Matrix<T> left{room.take<T>(ld * k), ld}, right{room.take<T>(ld * k), ld};
    const T length = nrm2(k, weights);
    for (int i = 0; i < k; ++i) z[i] = weights[i] / length;
    const Poles<T> p(k, poles, z, T(0), std::max(poles[k - 1], length), 2, own);
    const T rho = length / p.scale;
    std::atomic<bool> found{true};
    const SecularEquation<T, true> equation(k, p.d, p.z, rho * rho);
    for_each_root(k, 8 * k, [&](int j) {
        if (!equation.solve(j, u.at(0, j), vt.at(0, j), d + j)) found = false;
        d[j] *= p.scale;
    });
    if (!found) return 1;
    find_weights<T>(k, {u.data, u.ld}, {vt.data, vt.ld}, p, w);
    // Each thread uses lines of its own in `left` as scratch, before they receive the vectors.
    for_each_root(k, 8 * k, [&](int j) {
        Scratch lines(static_cast<std::size_t>(2 * padded) * sizeof(T));
        find_vectors(k, p.d, w, index, u.at(0, j), vt.at(0, j), lines.take<T>(2 * padded), left.at(0, j),
                     right.at(0, j));
    });
    if (k == 2) {
        gemm('N', 'N', n, k, k, T(1), u2.data, u2.step(), left.data, left.step(), T(0), u.data, u.step());
        gemm('T', 'N', k, m, k, T(1), right.data, right.step(), vt2.data, vt2.step(), T(0), vt.data, vt.step());
        return 0;
    }
    multiply_left<T>(nl, nr, k, ctot, u2, left, u);
    multiply_right<T>(nl, nr + sqre, k, ctot, right, vt2, vt);
    return 0;
}

}  // namespace

extern "C" {
#define TENON_DEFINE(x, T)                                                                                           \
    void TENON_SYMBOL(x##lasd5_)(Int, const T*, const T*, T*, const T*, T*, T*);                                     \
    TENON_LAPACK_API void TENON_SYMBOL(x##lasd3_)(                                                                   \
        Int nl, Int nr, Int sqre, Int k, T * d, T*, Int ldq, const T* poles, T* u, Int ldu, const T* u2, Int ldu2,   \
        T* vt, Int ldvt, T* vt2, Int ldvt2, const int* index, const int* ctot, const T* weights, int* info) {        \
        *info = or_end(#x "lasd3", [&] {                                                                             \
            return lasd3<T>(*nl, *nr, *sqre, *k, d, *ldq, poles, {u, *ldu}, {u2, *ldu2}, {vt, *ldvt}, {vt2, *ldvt2}, \
                            index, ctot, weights);                                                                   \
        });                                                                                                          \
    }                                                                                                                \
    TENON_LAPACK_API void TENON_SYMBOL(x##lasd4_)(Int n, Int i, const T* d, const T* z, T* minus, const T* rho,      \
                                                  T* root, T* plus, int* info) {                                     \
        *info = 0;                                                                                                   \
        if (*n == 1)                                                                                                 \
            *root = std::sqrt(d[0] * d[0] + *rho * z[0] * z[0]), minus[0] = plus[0] = 1;                             \
        else if (*n == 2)                                                                                            \
            TENON_SYMBOL(x##lasd5_)(i, d, z, minus, rho, root, plus);                                                \
        else                                                                                                         \
            *info = or_end(#x "lasd4", [&] { return lasd4(*n, *i - 1, d, z, minus, *rho, root, plus); });            \
    }
TENON_DEFINE(s, float)
TENON_DEFINE(d, double)
#undef TENON_DEFINE
}

}  // namespace tenon::lapack
