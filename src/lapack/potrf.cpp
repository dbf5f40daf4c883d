// Cholesky by halves (Gustavson 1997): almost all of it is trsm and syrk of half the order. A triangle of up to
// kTriangle rows is factored in a copy, whose columns do not fall on the same sets of the cache. A large matrix is
// factored by blocks of columns from the left, each in a copy too, so that the update of the rest is one syrk with
// operands from there.
#include <algorithm>

#include "lapack/or_end.h"
#include "lapack/products.h"
#include "lapack/threads.h"
#include "product/contract.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

/// The order from which columns are taken by blocks, and their number: the longest sums that a product subtracts from C
/// in place.
constexpr int kLarge = 1536, kWidth = product::kBlockK;
/// Elements whose copying is worth another thread.
constexpr int kCopied = 1 << 15;

template <class T>
int factor_triangle(bool lower, int n, T* a, std::int64_t lda) {
    const int ld = (n + 7) / 8 * 8 + 8;
    Scratch room(static_cast<std::size_t>(ld * n) * sizeof(T));
    T* const l = room.take<T>(ld * n);
    for (int j = 0; j < n; ++j)
        for (int i = j; i < n; ++i) l[i + j * ld] = lower ? a[i + j * lda] : a[j + i * lda];
    const int info = kernels().of<T>().cholesky(n, l, ld);
    // Including what a failed factorization has computed so far.
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

/// One triangle of A <- that of B, and what lies below it, or right of it; (m, n) in all.
template <class T>
void copy_block(bool lower, int m, int n, const T* b, std::int64_t ldb, T* a, std::int64_t lda) {
    share(n, std::max(1, kCopied / m), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t j = begin; j < end; ++j) {
            const std::int64_t first = lower ? j : 0, last = lower ? m : std::min<std::int64_t>(m, j + 1);
            std::copy_n(b + first + j * ldb, last - first, a + first + j * lda);
        }
    });
}

template <class T>
int factor_by_blocks(bool lower, int n, T* a, int lda) {
    constexpr int width = kWidth;
    const int rows = lower ? n : width;
    // The memory of the block's columns; the triangle is first.
    const int ld = (rows + 7) / 8 * 8 + 8;
    const std::int64_t columns = lower ? width : n, step = lda;
    Scratch room(static_cast<std::size_t>(ld * columns) * sizeof(T));
    T* const block = room.take<T>(ld * columns);
    for (int j = 0; j < n; j += width) {
        const int order = std::min(width, n - j), rest = n - j - order;
        T* const from = a + j + j * step;
        const int m = lower ? n - j : order, count = lower ? order : n - j;
        copy_block(lower, m, count, from, step, block, ld);
        const int info = factor(lower, order, block, ld);
        T* const beside = block + (lower ? order : std::int64_t{order} * ld);
        if (info == 0 && rest > 0) {
            if (lower)
                trsm('R', 'L', 'T', 'N', rest, order, T(1), block, ld, beside, ld);
            else
                trsm('L', 'U', 'T', 'N', order, rest, T(1), block, ld, beside, ld);
        }
        copy_block(lower, m, count, block, ld, from, step);
        if (info != 0) return j + info;
        T* const last = from + order + order * step;
        if (rest > 0) syrk(lower ? 'L' : 'U', lower ? 'N' : 'T', rest, order, T(-1), beside, ld, T(1), last, lda);
    }
    return 0;
}

template <class T>
int potrf(char uplo, int n, T* a, int lda) {
    const char which = upper(uplo);
    const int info = check<T>("POTRF", {{1, which == 'L' || which == 'U'}, {2, n >= 0}, {4, holds_rows(lda, n)}});
    if (info != 0 || n == 0) return info;
    return n < kLarge ? factor(which == 'L', n, a, lda) : factor_by_blocks(which == 'L', n, a, lda);
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(spotrf_)(Option uplo, Int n, float* a, Int lda, int* info, Length) {
    *info = or_end("spotrf", [&] { return potrf(*uplo, *n, a, *lda); });
}
TENON_LAPACK_API void TENON_SYMBOL(dpotrf_)(Option uplo, Int n, double* a, Int lda, int* info, Length) {
    *info = or_end("dpotrf", [&] { return potrf(*uplo, *n, a, *lda); });
}
}

}  // namespace tenon::lapack
