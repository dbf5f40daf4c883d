// The inverse of a triangle by halves: almost all of it is trsm of half the order. A triangle of up to kOrder rows is
// solved for the columns of the identity, in memory of its own.
#include <algorithm>

#include "lapack/or_end.h"
#include "lapack/products.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

constexpr int kOrder = 64;

template <class T>
void invert_triangle(bool lower, char diag, int n, T* a, std::int64_t lda) {
    const int ld = (n + 7) / 8 * 8 + 8;
    Scratch room(static_cast<std::size_t>(2 * ld * n + 16) * sizeof(T));
    T *const triangle = room.take<T>(ld * n), *const inverse = room.take<T>(ld * n);
    const auto each = [&](auto f) {
        for (int j = 0; j < n; ++j)
            for (int i = lower ? j : 0; i < (lower ? n : j + 1); ++i) f(i, j);
    };
    each([&](int i, int j) { triangle[i + j * ld] = a[i + j * lda]; });
    std::fill_n(inverse, ld * n, T(0));
    for (int j = 0; j < n; ++j) inverse[j + j * ld] = 1;
    trsm('L', lower ? 'L' : 'U', 'N', diag, n, n, T(1), triangle, ld, inverse, ld);
    // A diagonal of ones is not stored.
    each([&](int i, int j) {
        if (i != j || diag == 'N') a[i + j * lda] = inverse[i + j * ld];
    });
}

template <class T>
void invert(bool lower, char diag, int n, T* a, int lda) {
    if (n <= kOrder) return invert_triangle(lower, diag, n, a, lda);
    const int half = (n / 2 + kOrder - 1) / kOrder * kOrder, rest = n - half;
    const std::int64_t step = lda;
    T* const last = a + half + half * step;
    if (lower) {
        T* const below = a + half;
        trsm('R', 'L', 'N', diag, rest, half, T(1), a, lda, below, lda);
        trsm('L', 'L', 'N', diag, rest, half, T(-1), last, lda, below, lda);
    } else {
        T* const beside = a + half * step;
        trsm('L', 'U', 'N', diag, half, rest, T(1), a, lda, beside, lda);
        trsm('R', 'U', 'N', diag, half, rest, T(-1), last, lda, beside, lda);
    }
    invert(lower, diag, half, a, lda);
    invert(lower, diag, rest, last, lda);
}

template <class T>
int trtri(char uplo, char diag, int n, T* a, int lda) {
    const char which = upper(uplo), stored = upper(diag);
    const int info = check<T>(
        "TRTRI",
        {{1, which == 'L' || which == 'U'}, {2, stored == 'N' || stored == 'U'}, {3, n >= 0}, {5, holds_rows(lda, n)}});
    if (info != 0 || n == 0) return info;
    if (stored == 'N')
        for (std::int64_t j = 0; j < n; ++j)
            if (a[j + j * lda] == 0) return static_cast<int>(j + 1);
    invert(which == 'L', stored, n, a, lda);
    return 0;
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(strtri_)(Option uplo, Option diag, Int n, float* a, Int lda, int* info, Length,
                                            Length) {
    *info = or_end("strtri", [&] { return trtri(*uplo, *diag, *n, a, *lda); });
}
TENON_LAPACK_API void TENON_SYMBOL(dtrtri_)(Option uplo, Option diag, Int n, double* a, Int lda, int* info, Length,
                                            Length) {
    *info = or_end("dtrtri", [&] { return trtri(*uplo, *diag, *n, a, *lda); });
}
}

}  // namespace tenon::lapack
