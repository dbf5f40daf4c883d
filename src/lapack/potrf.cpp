// Cholesky by halves (Gustavson 1997): almost all of it is trsm and syrk of half the order. A triangle of up to
// kTriangle rows is copied to memory of its own, where its columns do not fall on one another in the cache, and
// factored there.
#include <algorithm>

#include "lapack/products.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

template <class T>
int factor_triangle(bool lower, int n, T* a, std::int64_t lda) {
    const int ld = (n + 7) / 8 * 8 + 8;
    Scratch room(static_cast<std::size_t>(ld * n) * sizeof(T));
    T* const l = room.take<T>(ld * n);
    for (int j = 0; j < n; ++j)
        for (int i = j; i < n; ++i) l[i + j * ld] = lower ? a[i + j * lda] : a[j + i * lda];
    const int info = kernels().of<T>().cholesky(n, l, ld);
    // As far as it came.
    for (int j = 0; j < n; ++j)
        for (int i = j; i < n; ++i) (lower ? a[i + j * lda] : a[j + i * lda]) = l[i + j * ld];
    return info;
}

template <class T>
int factor(bool lower, int n, T* a, int lda) {
    if (n <= kTriangle) return factor_triangle(lower, n, a, lda);
    const int half = (n / 2 + 63) / 64 * 64, rest = n - half;
    if (const int info = factor(lower, half, a, lda); info != 0) return info;
    const std::int64_t ld = lda;
    T* const below = a + (lower ? half : half * ld);
    T* const last = a + half + half * ld;
    if (lower) {
        trsm('R', 'L', 'T', 'N', rest, half, T(1), a, lda, below, lda);
        syrk('L', 'N', rest, half, T(-1), below, lda, T(1), last, lda);
    } else {
        trsm('L', 'U', 'T', 'N', half, rest, T(1), a, lda, below, lda);
        syrk('U', 'T', rest, half, T(-1), below, lda, T(1), last, lda);
    }
    const int info = factor(lower, rest, last, lda);
    return info == 0 ? 0 : half + info;
}

template <class T>
int potrf(char uplo, int n, T* a, int lda) {
    const char which = upper(uplo);
    const int info = check<T>("POTRF", {{1, which == 'L' || which == 'U'}, {2, n >= 0}, {4, holds_rows(lda, n)}});
    return info != 0 || n == 0 ? info : factor(which == 'L', n, a, lda);
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(spotrf_)(Option uplo, Int n, float* a, Int lda, int* info, Length) {
    *info = potrf(*uplo, *n, a, *lda);
}
TENON_LAPACK_API void TENON_SYMBOL(dpotrf_)(Option uplo, Int n, double* a, Int lda, int* info, Length) {
    *info = potrf(*uplo, *n, a, *lda);
}
}

}  // namespace tenon::lapack
