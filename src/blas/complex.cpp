#include "blas/complex.h"

#include <algorithm>

#include "base/parallel.h"
#include "product/dense/scratch.h"
#include "tenon/product.h"

namespace tenon::blas {
namespace {

using product::Matrix;
using product::dense::Scratch;

/// The most bytes of A, and of a copy of B, that are expanded at a time.
constexpr std::int64_t kPartBytes = 16 << 20;
/// Elements below which a copy is not worth another thread.
constexpr std::int64_t kGrain = 1 << 14;
/// Elements of k that are taken together: one or two cache lines if they are adjacent in memory.
constexpr std::int64_t kStep = 8;
/// Rows of a block on the diagonal, which is computed whole.
constexpr std::int64_t kDiagonal = 96;

template <class R>
Matrix real_matrix(const void* data, std::int64_t rows, std::int64_t columns, std::int64_t row_stride) {
    return {const_cast<void*>(data), sizeof(R) == 4 ? DType::float32 : DType::float64, rows, columns, row_stride, 1, 0};
}

/// Calls f(p, end) for steps of k, each of `width` elements.
template <class F>
void for_steps(std::int64_t k, std::int64_t width, F f) {
    const std::int64_t steps = (k + kStep - 1) / kStep;
    parallel_for(steps, std::max<std::int64_t>(1, kGrain / (kStep * width)), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t s = begin; s < end; ++s) f(s * kStep, std::min(k, (s + 1) * kStep));
    });
}

/// The right operand: two rows of 2 m numbers for each k.
template <class R>
void write_out(const MatrixView<const Complex<R>>& a, bool conjugate_b, R* to) {
    const std::int64_t m = a.rows;
    const R sign_a = a.conjugate ? R(-1) : R(1), sign_b = conjugate_b ? R(-1) : R(1);
    for_steps(a.columns, m, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t p = first; p < last; ++p) {
                const Complex<R> x = a.at(i, p);
                R* row = to + p * 4 * m + 2 * i;
                const R im = sign_a * x.im;
                row[0] = x.re, row[1] = im;
                row[2 * m] = -sign_b * im, row[2 * m + 1] = sign_b * x.re;
            }
    });
}

/// A copy of the left operand where it cannot be read in place: B's columns, one after the other.
template <class R>
void copy_columns(const MatrixView<const Complex<R>>& b, Complex<R>* to) {
    const std::int64_t k = b.rows;
    for_steps(b.columns, k, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t p = 0; p < k; ++p)
            for (std::int64_t j = first; j < last; ++j) to[j * k + p] = b.at(p, j);
    });
}

/// C = alpha sums + beta C; `sums` are C's columns one after the other.
template <class R>
void finish(Complex<R> alpha, const Complex<R>* sums, Complex<R> beta, const MatrixView<Complex<R>>& c) {
    const bool keeps = !(beta == of<Complex<R>>(0));
    for_steps(c.columns, c.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t j = first; j < last; ++j)
            for (std::int64_t i = 0; i < c.rows; ++i) {
                Complex<R>& out = c.at(i, j);
                const Complex<R> sum = sums ? sums[j * c.rows + i] : of<Complex<R>>(0);
                if (keeps)
                    out = sums ? fma(alpha, sum, beta * out) : beta * out;
                else
                    out = sums ? alpha * sum : sum;
            }
    });
}

/// The columns of C for some columns of B, some rows at a time.
template <class R>
void multiply_columns(Complex<R> alpha, const MatrixView<const Complex<R>>& a, const MatrixView<const Complex<R>>& b,
                      Complex<R> beta, const MatrixView<Complex<R>>& c, bool copies) {
    const std::int64_t k = a.columns, n = c.columns;
    const auto element = std::int64_t{sizeof(Complex<R>)};
    const bool direct = alpha.im == 0 && beta.im == 0 && c.row_stride == 1;
    const std::int64_t most = std::clamp<std::int64_t>(kPartBytes / (2 * k * element), 16, c.rows > 16 ? c.rows : 16);
    const std::int64_t height = std::min(most, c.rows);
    Scratch scratch(Scratch::aligned(static_cast<std::size_t>(2 * k * height * element)) +
                    (copies ? Scratch::aligned(static_cast<std::size_t>(k * n * element)) : 0) +
                    (direct ? 0 : Scratch::aligned(static_cast<std::size_t>(height * n * element))));
    R* right = scratch.take<R>(4 * k * height);
    Matrix left = real_matrix<R>(b.data, n, 2 * k, 2 * b.column_stride);
    if (copies) {
        auto* columns = scratch.take<Complex<R>>(k * n);
        copy_columns(b, columns);
        left = real_matrix<R>(columns, n, 2 * k, 2 * k);
    }
    auto* sums = direct ? nullptr : scratch.take<Complex<R>>(height * n);
    for (std::int64_t i = 0; i < c.rows; i += height) {
        const std::int64_t rows = std::min(height, c.rows - i);
        const MatrixView<Complex<R>> out = c.block(i, 0, rows, n);
        write_out(a.block(i, 0, rows, k), b.conjugate, right);
        const Matrix real = real_matrix<R>(right, 2 * k, 2 * rows, 2 * rows);
        if (direct) {
            product::gemm(left, real, real_matrix<R>(out.data, n, 2 * rows, 2 * out.column_stride),
                          {.alpha = static_cast<double>(alpha.re), .beta = static_cast<double>(beta.re)});
        } else {
            product::gemm(left, real, real_matrix<R>(sums, n, 2 * rows, 2 * rows));
            finish(alpha, sums, beta, out);
        }
    }
}

/// Stores the triangle's elements of a block that was computed whole.
template <class R>
void finish_triangle(bool lower, bool hermitian, Complex<R> alpha, const Complex<R>* sums, Complex<R> beta,
                     const MatrixView<Complex<R>>& c) {
    for (std::int64_t j = 0; j < c.columns; ++j) {
        const std::int64_t begin = lower ? j : 0, end = lower ? c.rows : j + 1;
        if (hermitian) c.at(j, j).im = 0;
        finish(alpha, sums ? sums + j * c.rows + begin : nullptr, beta, c.block(begin, j, end - begin, 1));
        if (hermitian) c.at(j, j).im = 0;
    }
}

}  // namespace

template <class R>
void multiply(Complex<R> alpha, const MatrixView<const Complex<R>>& a, const MatrixView<const Complex<R>>& b,
              Complex<R> beta, const MatrixView<Complex<R>>& c) {
    if (c.rows == 0 || c.columns == 0) return;
    if (alpha == of<Complex<R>>(0) || a.columns == 0) return finish<R>(alpha, nullptr, beta, c);
    if (c.row_stride != 1 && c.column_stride == 1)
        return multiply(alpha, b.transpose(), a.transpose(), beta, c.transpose());
    const std::int64_t k = a.columns;
    const bool copies = b.row_stride != 1;
    const std::int64_t column = k * std::int64_t{sizeof(Complex<R>)};
    const std::int64_t width = copies ? std::max<std::int64_t>(kPartBytes / column, 64) : c.columns;
    for (std::int64_t j = 0; j < c.columns; j += width) {
        const std::int64_t n = std::min(width, c.columns - j);
        multiply_columns(alpha, a, b.block(0, j, k, n), beta, c.block(0, j, c.rows, n), copies);
    }
}

template <class R>
void multiply_triangle(bool lower, bool hermitian, Complex<R> alpha, const MatrixView<const Complex<R>>& a,
                       const MatrixView<const Complex<R>>& b, Complex<R> beta, const MatrixView<Complex<R>>& c) {
    const std::int64_t n = c.rows, k = a.columns;
    if (n == 0) return;
    if (n <= kDiagonal) {
        if (alpha == of<Complex<R>>(0) || k == 0) return finish_triangle<R>(lower, hermitian, alpha, nullptr, beta, c);
        Scratch scratch(static_cast<std::size_t>(n * n) * sizeof(Complex<R>));
        auto* sums = scratch.take<Complex<R>>(n * n);
        multiply<R>(of<Complex<R>>(1), a, b, of<Complex<R>>(0), {sums, n, n, 1, n});
        return finish_triangle(lower, hermitian, alpha, sums, beta, c);
    }
    const std::int64_t h = (n / 2 + kDiagonal - 1) / kDiagonal * kDiagonal, rest = n - h;
    multiply_triangle(lower, hermitian, alpha, a.block(0, 0, h, k), b.block(0, 0, k, h), beta, c.block(0, 0, h, h));
    if (lower)
        multiply(alpha, a.block(h, 0, rest, k), b.block(0, 0, k, h), beta, c.block(h, 0, rest, h));
    else
        multiply(alpha, a.block(0, 0, h, k), b.block(0, h, k, rest), beta, c.block(0, h, h, rest));
    multiply_triangle(lower, hermitian, alpha, a.block(h, 0, rest, k), b.block(0, h, k, rest), beta,
                      c.block(h, h, rest, rest));
}

#define TENON_INSTANTIATE(R)                                                                                     \
    template void multiply(Complex<R>, const MatrixView<const Complex<R>>&, const MatrixView<const Complex<R>>&, \
                           Complex<R>, const MatrixView<Complex<R>>&);                                           \
    template void multiply_triangle(bool, bool, Complex<R>, const MatrixView<const Complex<R>>&,                 \
                                    const MatrixView<const Complex<R>>&, Complex<R>, const MatrixView<Complex<R>>&);
TENON_INSTANTIATE(float)
TENON_INSTANTIATE(double)
#undef TENON_INSTANTIATE

}  // namespace tenon::blas
