// QR by blocks of columns, each factored by halves down to kBlock columns, with the triangle T of its compact WY form
// (Schreiber and Van Loan 1989; Elmroth and Gustavson 2000): Q = I - V T V^T. A block lies in memory of its own, with
// the ones and zeros of V in their places and R's elements beside, so that what it does to other columns is two whole
// products.
#include <algorithm>

#include "lapack/or_end.h"
#include "lapack/products.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

/// A block of reflectors that is being computed: V (m, n) with its columns ld apart; T and R (n, n) upper, ldt apart.
template <class T>
struct Block {
    T* v;
    std::int64_t ld;
    T *t, *r;
    std::int64_t ldt;

    Block from(std::int64_t i) const { return {v + i + i * ld, ld, t + i + i * ldt, r + i + i * ldt, ldt}; }
};

/// X = sign op(U) X for an upper U (k, k) and X (k, n), by columns; k is small.
template <class T>
void multiply_upper(bool transposed, T sign, int k, int n, const T* u, std::int64_t ldu, T* x, std::int64_t ldx) {
    for (int j = 0; j < n; ++j) {
        T* const column = x + j * ldx;
        for (int s = 0; s < k; ++s) {
            const int i = transposed ? k - 1 - s : s;
            T sum = 0;
            if (transposed)
                for (int p = 0; p <= i; ++p) sum += u[p + i * ldu] * column[p];
            else
                for (int p = i; p < k; ++p) sum += u[i + p * ldu] * column[p];
            column[i] = sign * sum;
        }
    }
}
/// X = X U.
template <class T>
void multiply_upper_right(int k, int n, const T* u, std::int64_t ldu, T* x, std::int64_t ldx) {
    for (int j = n - 1; j >= 0; --j)
        for (int i = 0; i < k; ++i) {
            T sum = 0;
            for (int p = 0; p <= j; ++p) sum += x[i + p * ldx] * u[p + j * ldu];
            x[i + j * ldx] = sum;
        }
}

/// Moves the elements of R in the first `rows` rows of n columns to R and leaves zeros.
template <class T>
void take_upper(int rows, int n, T* v, std::int64_t ld, T* r, std::int64_t ldr) {
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < rows; ++i) {
            r[i + j * ldr] = v[i + j * ld];
            v[i + j * ld] = 0;
        }
}

/// One reflector after the other, n <= kBlock.
template <class T>
void factor_columns(int m, int n, const Block<T>& b, T* tau) {
    const Kernels<T>& kernel = kernels().of<T>();
    T w[kBlock];
    for (int j = 0; j < n; ++j) {
        T* const x = b.v + j * b.ld;
        const int rows = m - j;
        take_upper(j, 1, x, b.ld, b.r + j * b.ldt, b.ldt);
        larfg(rows, x + j, x + std::min(j + 1, m - 1), tau + j);
        b.r[j + j * b.ldt] = x[j];
        x[j] = 1;
        T* const rest = x + j + b.ld;
        const int others = n - j - 1;
        kernel.products(rows, others, 1, x + j, b.ld, rest, b.ld, w, 1);
        for (int c = 0; c < others; ++c) w[c] *= tau[j];
        kernel.subtract(rows, others, 1, x + j, b.ld, w, 1, 1, rest, b.ld);
        T* const t = b.t + j * b.ldt;
        kernel.products(rows, 1, j, b.v + j, b.ld, x + j, b.ld, t, b.ldt);
        multiply_upper(false, -tau[j], j, 1, b.t, b.ldt, t, b.ldt);
        t[j] = tau[j];
    }
}

/// C = Q^T C for n columns; W holds k n elements.
template <class T>
void apply(int m, int n, int k, const Block<T>& b, T* c, std::int64_t ldc, T* w) {
    const Kernels<T>& kernel = kernels().of<T>();
    kernel.products(m, n, k, b.v, b.ld, c, ldc, w, k);
    multiply_upper(true, T(1), k, n, b.t, b.ldt, w, k);
    kernel.subtract(m, n, k, b.v, b.ld, w, 1, k, c, ldc);
}

/// W holds n^2 / 4 elements.
template <class T>
void factor_block(int m, int n, const Block<T>& b, T* tau, T* w) {
    if (n <= kBlock) return factor_columns(m, n, b, tau);
    const int half = (n / 2 + kBlock - 1) / kBlock * kBlock, rest = n - half;
    factor_block(m, half, b, tau, w);
    T* const right = b.v + half * b.ld;
    apply(m, rest, half, b, right, b.ld, w);
    take_upper(half, rest, right, b.ld, b.r + half * b.ldt, b.ldt);
    const Block<T> below = b.from(half);
    factor_block(m - half, rest, below, tau + half, w);
    // T's corner: -T1 (V1^T V2) T2.
    T* const corner = b.t + half * b.ldt;
    kernels().of<T>().products(m - half, rest, half, b.v + half, b.ld, below.v, b.ld, corner, b.ldt);
    multiply_upper(false, T(-1), half, rest, b.t, b.ldt, corner, b.ldt);
    multiply_upper_right(half, rest, below.t, b.ldt, corner, b.ldt);
}

int block_of(int n) { return n >= 1024 ? 64 : 32; }

template <class T>
void factor(int m, int n, T* a, std::int64_t lda, T* tau) {
    const int k = std::min(m, n), width = std::min(block_of(k), k);
    const std::int64_t ld = (std::int64_t{m} + 7) / 8 * 8 + 8;
    Scratch room(static_cast<std::size_t>(ld * width + 3 * width * width + std::int64_t{width} * n + 256) * sizeof(T));
    T* const v = room.take<T>(ld * width);
    const Block<T> block{v, ld, room.take<T>(width * width), room.take<T>(width * width), width};
    T* const w = room.take<T>(std::int64_t{width} * std::max(n, width));
    for (int j = 0; j < k; j += width) {
        const int rows = m - j, columns = std::min(width, k - j), others = n - j - columns;
        T* const panel = a + j + j * lda;
        for (int c = 0; c < columns; ++c) std::copy_n(panel + c * lda, rows, v + c * ld);
        factor_block(rows, columns, block, tau + j, w);
        for (int c = 0; c < columns; ++c) {
            std::copy_n(block.r + c * width, c + 1, panel + c * lda);
            std::copy_n(v + c * ld + c + 1, rows - c - 1, panel + c * lda + c + 1);
        }
        if (others == 0) continue;
        T* const c = panel + columns * lda;
        const int ldv = static_cast<int>(ld), ldc = static_cast<int>(lda);
        gemm('T', 'N', columns, others, rows, T(1), v, ldv, c, ldc, T(0), w, width);
        trmm('L', 'U', 'T', 'N', columns, others, T(1), block.t, width, w, width);
        gemm('N', 'N', rows, others, columns, T(-1), v, ldv, w, width, T(1), c, ldc);
    }
}

template <class T>
int geqrf(int m, int n, T* a, int lda, T* tau, T* work, int lwork) {
    const int most = std::max(1, n);
    const int info = check<T>(
        "GEQRF", {{1, m >= 0}, {2, n >= 0}, {4, holds_rows(lda, m)}, {7, lwork == -1 || lwork >= (m == 0 ? 1 : most)}});
    if (info != 0) return info;
    // The size that the reference's block needs, though WORK is not used.
    work[0] = static_cast<T>(std::min(m, n) == 0 ? 1 : 32 * most);
    if (lwork != -1 && std::min(m, n) > 0) factor(m, n, a, lda, tau);
    return 0;
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(sgeqrf_)(Int m, Int n, float* a, Int lda, float* tau, float* work, Int lwork,
                                            int* info) {
    *info = or_end("sgeqrf", [&] { return geqrf(*m, *n, a, *lda, tau, work, *lwork); });
}
TENON_LAPACK_API void TENON_SYMBOL(dgeqrf_)(Int m, Int n, double* a, Int lda, double* tau, double* work, Int lwork,
                                            int* info) {
    *info = or_end("dgeqrf", [&] { return geqrf(*m, *n, a, *lda, tau, work, *lwork); });
}
}

}  // namespace tenon::lapack
