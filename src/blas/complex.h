// Complex matrix products, as one real product of A's and B's parts each.
//
//     [cr ci] = [br bi] [ ar ai ]      for each column of C = A B, of which B's column is a row on the left
//                       [-ai ar ]
//
// C and B are in memory in this form already; A is written out twice as large, for some rows at a time. A sum of k
// complex terms is a sum of 2 k real ones in the order of the engine's law, so its bits depend only on k and the
// values.
#pragma once

#include <cstdint>

#include "blas/scalar.h"

namespace tenon::blas {

/// A matrix with any strides; with `conjugate` its elements count as conjugated.
template <class T>
struct MatrixView {
    T* data;
    std::int64_t rows, columns, row_stride, column_stride;
    bool conjugate = false;

    MatrixView transpose() const { return {data, columns, rows, column_stride, row_stride, conjugate}; }
    MatrixView block(std::int64_t row, std::int64_t column, std::int64_t m, std::int64_t n) const {
        return {data + row * row_stride + column * column_stride, m, n, row_stride, column_stride, conjugate};
    }
    T& at(std::int64_t i, std::int64_t j) const { return data[i * row_stride + j * column_stride]; }
};

/// C = alpha A B + beta C, C not conjugated. If alpha is 0 neither A nor B is read; if beta is 0 C is not.
template <class R>
void multiply(Complex<R> alpha, const MatrixView<const Complex<R>>& a, const MatrixView<const Complex<R>>& b,
              Complex<R> beta, const MatrixView<Complex<R>>& c);

/// One triangle of a square C. With `hermitian` the imaginary parts of the diagonal are neither read nor kept.
template <class R>
void multiply_triangle(bool lower, bool hermitian, Complex<R> alpha, const MatrixView<const Complex<R>>& a,
                       const MatrixView<const Complex<R>>& b, Complex<R> beta, const MatrixView<Complex<R>>& c);

/// B = alpha A B, and B = alpha A^-1 B; A is lower or upper triangular.
template <class R>
void multiply_triangular(bool lower, bool unit, Complex<R> alpha, const MatrixView<const Complex<R>>& a,
                         const MatrixView<Complex<R>>& b);
template <class R>
void solve_triangular(bool lower, bool unit, Complex<R> alpha, const MatrixView<const Complex<R>>& a,
                      const MatrixView<Complex<R>>& b);

}  // namespace tenon::blas
