// LU with partial pivoting by halves of the columns (Toledo 1997): almost all of it is gemm and trsm. Up to kPanel
// columns are copied to memory of their own, where columns do not fall on one another in the cache, and factored there.
#include <algorithm>

#include "lapack/laswp.h"
#include "lapack/products.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

constexpr int kPanel = 32;

template <class T>
int factor_panel(int m, int n, T* a, std::int64_t lda, int* pivots) {
    const std::int64_t ld = (std::int64_t{m} + 7) / 8 * 8 + 8;
    Scratch room(static_cast<std::size_t>(ld * n) * sizeof(T));
    T* const panel = room.take<T>(ld * n);
    for (int j = 0; j < n; ++j) std::copy_n(a + j * lda, m, panel + j * ld);
    const int info = kernels().of<T>().lu(m, n, panel, ld, pivots);
    for (int j = 0; j < n; ++j) std::copy_n(panel + j * ld, m, a + j * lda);
    return info;
}

/// m >= n; pivots count from the first row of A.
template <class T>
int factor(int m, int n, T* a, int lda, int* pivots) {
    if (n <= kPanel) return factor_panel(m, n, a, lda, pivots);
    const int half = (n / 2 + kPanel - 1) / kPanel * kPanel, rest = n - half;
    const std::int64_t ld = lda;
    const int info = factor(m, half, a, lda, pivots);
    T* const right = a + half * ld;
    exchange_rows(rest, right, ld, 0, half, pivots);
    trsm('L', 'L', 'N', 'U', half, rest, T(1), a, lda, right, lda);
    gemm('N', 'N', m - half, rest, half, T(-1), a + half, lda, right, lda, T(1), right + half, lda);
    const int later = factor(m - half, rest, right + half, lda, pivots + half);
    for (int i = half; i < n; ++i) pivots[i] += half;
    exchange_rows(half, a, ld, half, n, pivots);
    return info != 0 ? info : later != 0 ? half + later : 0;
}

template <class T>
int getrf(int m, int n, T* a, int lda, int* pivots) {
    const int wrong = check<T>("GETRF", {{1, m >= 0}, {2, n >= 0}, {4, holds_rows(lda, m)}});
    if (wrong != 0 || m == 0 || n == 0) return wrong;
    const int square = std::min(m, n);
    const int info = factor(m, square, a, lda, pivots);
    if (n > m) {
        T* const right = a + std::int64_t{square} * lda;
        exchange_rows(n - m, right, lda, 0, m, pivots);
        trsm('L', 'L', 'N', 'U', m, n - m, T(1), a, lda, right, lda);
    }
    return info;
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(sgetrf_)(Int m, Int n, float* a, Int lda, int* pivots, int* info) {
    *info = getrf(*m, *n, a, *lda, pivots);
}
TENON_LAPACK_API void TENON_SYMBOL(dgetrf_)(Int m, Int n, double* a, Int lda, int* pivots, int* info) {
    *info = getrf(*m, *n, a, *lda, pivots);
}
}

}  // namespace tenon::lapack
