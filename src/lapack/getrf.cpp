// LU with partial pivoting by halves of the columns (Toledo 1997): almost all of it is gemm and trsm. Up to kPanel
// columns are factored in a copy, whose columns do not fall on the same sets of the cache. A large matrix is factored
// by blocks of columns from the left, each in a copy too, so that the update of the rest is one gemm with operands from
// there.
#include <algorithm>

#include "lapack/copy.h"
#include "lapack/laswp.h"
#include "lapack/or_end.h"
#include "product/contract.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

constexpr int kPanel = 32;
/// The order from which columns are taken by blocks, and their number: the longest sums that a product subtracts from C
/// in place.
constexpr int kLarge = 1536, kWidth = product::kBlockK;

/// `apart`: it is already in memory of its own.
template <class T>
int factor_panel(bool apart, int m, int n, T* a, std::int64_t lda, int* pivots) {
    if (apart) return kernels().of<T>().lu(m, n, a, lda, pivots);
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
int factor(bool apart, int m, int n, T* a, int lda, int* pivots) {
    if (n <= kPanel) return factor_panel(apart, m, n, a, lda, pivots);
    const int half = (n / 2 + kPanel - 1) / kPanel * kPanel, rest = n - half;
    const std::int64_t ld = lda;
    const int info = factor(apart, m, half, a, lda, pivots);
    T* const right = a + half * ld;
    exchange_rows(rest, right, ld, 0, half, pivots);
    trsm('L', 'L', 'N', 'U', half, rest, T(1), a, lda, right, lda);
    gemm('N', 'N', m - half, rest, half, T(-1), a + half, lda, right, lda, T(1), right + half, lda);
    const int later = factor(apart, m - half, rest, right + half, lda, pivots + half);
    for (int i = half; i < n; ++i) pivots[i] += half;
    exchange_rows(half, a, ld, half, n, pivots);
    return info != 0 ? info : later != 0 ? half + later : 0;
}

/// m >= n.
template <class T>
int factor_by_blocks(int m, int n, T* a, int lda, int* pivots) {
    const int ld = (m + 7) / 8 * 8 + 8, ldu = kWidth + 8;
    const std::int64_t step = lda;
    Scratch room((static_cast<std::size_t>(ld) * kWidth + static_cast<std::size_t>(ldu) * static_cast<std::size_t>(n)) *
                 sizeof(T));
    T *const block = room.take<T>(std::int64_t{ld} * kWidth), *const upper = room.take<T>(std::int64_t{ldu} * n);
    int info = 0;
    for (int j = 0; j < n; j += kWidth) {
        const int rows = m - j, columns = std::min(kWidth, n - j), others = n - j - columns;
        T *const own = a + j + j * step, *const right = own + columns * step;
        copy_columns(rows, columns, own, step, block, ld);
        const int zero = factor(true, rows, columns, block, ld, pivots + j);
        if (info == 0 && zero != 0) info = j + zero;
        copy_columns(rows, columns, block, ld, own, step);
        if (others > 0) {
            exchange_rows(others, right, step, 0, columns, pivots + j);
            copy_columns(columns, others, right, step, upper, ldu);
            trsm('L', 'L', 'N', 'U', columns, others, T(1), block, ld, upper, ldu);
            copy_columns(columns, others, upper, ldu, right, step);
            if (rows > columns)
                gemm('N', 'N', rows - columns, others, columns, T(-1), block + columns, ld, upper, ldu, T(1),
                     right + columns, lda);
        }
        for (int i = j; i < j + columns; ++i) pivots[i] += j;
    }
    // Exchanges rows of the finished columns: all exchanges of one column while it is in cache.
    for (int j = 0; j + kWidth < n; j += kWidth) exchange_rows(kWidth, a + j * step, step, j + kWidth, n, pivots);
    return info;
}

template <class T>
int getrf(int m, int n, T* a, int lda, int* pivots) {
    const int wrong = check<T>("GETRF", {{1, m >= 0}, {2, n >= 0}, {4, holds_rows(lda, m)}});
    if (wrong != 0 || m == 0 || n == 0) return wrong;
    const int square = std::min(m, n);
    const int info =
        square < kLarge ? factor(false, m, square, a, lda, pivots) : factor_by_blocks(m, square, a, lda, pivots);
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
    *info = or_end("sgetrf", [&] { return getrf(*m, *n, a, *lda, pivots); });
}
TENON_LAPACK_API void TENON_SYMBOL(dgetrf_)(Int m, Int n, double* a, Int lda, int* pivots, int* info) {
    *info = or_end("dgetrf", [&] { return getrf(*m, *n, a, *lda, pivots); });
}
}

}  // namespace tenon::lapack
