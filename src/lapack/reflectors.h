// Blocks of reflectors, I - V T V^T (Schreiber and Van Loan 1989), as LAPACK stores them and written out.
#pragma once

#include <algorithm>
#include <cstdint>

#include "lapack/products.h"

namespace tenon::lapack {

/// How k reflectors of `order` elements are stored: 'F'orward, with the ones of V on the diagonal from its first row,
/// or 'B'ackward, with the ones ending in the last row; 'C'olumnwise, or 'R'owwise, where V's transpose is stored.
struct Stored {
    char direct, storev;

    bool forward() const { return direct == 'F'; }
};

/// V (order, k) written out by columns, with the ones and zeros that are not stored.
template <class T>
void copy_whole(Stored how, int order, int k, const T* v, std::int64_t ldv, T* to, std::int64_t ld) {
    for (int j = 0; j < k; ++j) {
        const int one = how.forward() ? j : order - k + j;
        const int begin = how.forward() ? one + 1 : 0, end = how.forward() ? order : one;
        T* const column = to + j * ld;
        std::fill_n(column, order, T(0));
        if (one >= 0 && one < order) column[one] = T(1);
        if (how.storev == 'C') std::copy_n(v + j * ldv + begin, end - begin, column + begin);
    }
    if (how.storev == 'C') return;
    for (int i = 0; i < order; ++i) {
        // Of row i of V, which is a column as stored, the reflectors that begin before it or end after.
        const int begin = how.forward() ? 0 : std::max(0, i - (order - k) + 1),
                  end = how.forward() ? std::min(i, k) : k;
        for (int j = begin; j < end; ++j) to[i + j * ld] = v[j + i * ldv];
    }
}

/// Elements between columns of the written-out V: a power of two would make them share sets of the cache.
inline int whole_ld(int order) { return (order + 7) / 8 * 8 + 8; }

/// T from G = V^T V, both with their own leading dimensions: upper, by columns to the right; or backward, lower and to
/// the left.
template <class T>
void form_triangle(bool forward, int k, const T* g, std::int64_t ldg, const T* tau, T* t, std::int64_t ldt) {
    for (int step = 0; step < k; ++step) {
        const int j = forward ? step : k - 1 - step;
        T* const column = t + j * ldt;
        const int begin = forward ? 0 : j + 1, end = forward ? j : k;
        std::fill(column + begin, column + end, T(0));
        for (int p = begin; tau[j] != 0 && p < end; ++p) {
            const T factor = g[p + j * ldg];
            const T* const before = t + p * ldt;
            for (int i = forward ? 0 : p; i < (forward ? p + 1 : k); ++i) column[i] += before[i] * factor;
        }
        for (int i = begin; i < end; ++i) column[i] *= -tau[j];
        column[j] = tau[j];
    }
}

/// C = op(I - V T V^T) C, or C op(..) from the right, V whole; w holds k elements for each of C's other extent.
template <class T>
void apply_whole(bool left, bool forward, char trans, int m, int n, int k, const T* whole, int ld, const T* t, int ldt,
                 T* c, int ldc, T* w) {
    const char uplo = forward ? 'U' : 'L';
    if (left) {
        gemm('T', 'N', k, n, m, T(1), whole, ld, c, ldc, T(0), w, k);
        trmm('L', uplo, trans, 'N', k, n, T(1), t, ldt, w, k);
        gemm('N', 'N', m, n, k, T(-1), whole, ld, w, k, T(1), c, ldc);
    } else {
        gemm('N', 'N', m, k, n, T(1), c, ldc, whole, ld, T(0), w, m);
        trmm('R', uplo, trans, 'N', m, k, T(1), t, ldt, w, m);
        gemm('N', 'T', m, n, k, T(-1), w, m, whole, ld, T(1), c, ldc);
    }
}

}  // namespace tenon::lapack
