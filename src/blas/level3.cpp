#include "blas/level3.h"

#include <algorithm>
#include <optional>

#include "blas/complex.h"
#include "product/dense/scratch.h"
#include "product/overlap.h"
#include "tenon/product.h"

namespace tenon::blas {
namespace {

using product::Diagonal;
using product::Matrix;
using product::Side;
using product::Triangle;
using product::dense::Scratch;

template <class T>
constexpr DType kDType = sizeof(Real<T>) == 4 ? DType::float32 : DType::float64;

/// The matrix that `op` gives for a matrix stored with contiguous columns, as a left or right operand: `rows` by
/// `columns` after op.
template <class T>
Matrix matrix(const T* data, std::int64_t rows, std::int64_t columns, std::int64_t ld, char op = 'N') {
    const Matrix m{
        const_cast<T*>(data), kDType<T>, transposes(op) ? columns : rows, transposes(op) ? rows : columns, 1, ld, 0};
    return transposes(op) ? m.transpose() : m;
}
template <class T>
MatrixView<const T> view(const T* data, std::int64_t rows, std::int64_t columns, std::int64_t ld, char op = 'N') {
    if (transposes(op)) return {data, rows, columns, ld, 1, conjugates(op)};
    return {data, rows, columns, 1, ld, conjugates(op)};
}
template <class T>
MatrixView<T> output(T* data, std::int64_t rows, std::int64_t columns, std::int64_t ld) {
    return {data, rows, columns, 1, ld};
}

/// An operand as stored. If it shares memory with the result, it is copied before the result changes.
template <class T>
class Operand {
  public:
    Operand(const T* data, std::int64_t rows, std::int64_t columns, std::int64_t ld, const Matrix& result)
        : data_(data), ld_(ld) {
        // A complex matrix is one of twice as many rows.
        constexpr std::int64_t kParts = kComplex<T> ? 2 : 1;
        Matrix out = result;
        out.rows *= kParts, out.column_stride *= kParts;
        if (!product::share_memory(matrix(data, rows * kParts, columns, ld * kParts), out, 1)) return;
        copy_.emplace(static_cast<std::size_t>(rows * columns) * sizeof(T));
        T* const to = copy_->template take<T>(rows * columns);
        for (std::int64_t j = 0; j < columns; ++j) std::copy_n(data + j * ld, rows, to + j * rows);
        data_ = to, ld_ = rows;
    }
    const T* data() const { return data_; }
    std::int64_t ld() const { return ld_; }

  private:
    const T* data_;
    std::int64_t ld_;
    std::optional<Scratch> copy_;
};

template <class T>
Operand<T> operand(const T* data, std::int64_t rows, std::int64_t columns, std::int64_t ld, char op,
                   const Matrix& result) {
    return transposes(op) ? Operand<T>(data, columns, rows, ld, result) : Operand<T>(data, rows, columns, ld, result);
}

Triangle triangle_of(char uplo) { return uplo == 'L' ? Triangle::lower : Triangle::upper; }

/// An operand's triangle after `op`.
bool is_lower(char uplo, char op) { return (uplo == 'L') != transposes(op); }

template <class T>
bool nothing_to_do(T alpha, std::int64_t k, T beta) {
    return (alpha == of<T>(0) || k == 0) && beta == of<T>(1);
}

/// Arguments that were checked and leave something to do.
template <class T>
void multiply_checked(char transa, char transb, std::int64_t m, std::int64_t n, std::int64_t k, T alpha, const T* a,
                      std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
    if (alpha == of<T>(0)) k = 0;  // nothing of A and B is read
    const Matrix out = matrix(c, m, n, ldc);
    const Operand<T> left = operand(a, m, k, lda, transa, out), right = operand(b, k, n, ldb, transb, out);
    if constexpr (kComplex<T>)
        multiply(alpha, view(left.data(), m, k, left.ld(), transa), view(right.data(), k, n, right.ld(), transb), beta,
                 output(c, m, n, ldc));
    else
        product::gemm(matrix(left.data(), m, k, left.ld(), transa), matrix(right.data(), k, n, right.ld(), transb), out,
                      {.alpha = static_cast<double>(alpha), .beta = static_cast<double>(beta)});
}

/// One triangle of alpha op(A) op(B) + beta C.
template <class T>
void multiply_triangle_checked(bool hermitian, char uplo, char transa, char transb, std::int64_t n, std::int64_t k,
                               T alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c,
                               std::int64_t ldc) {
    if (alpha == of<T>(0)) k = 0;
    const Matrix out = matrix(c, n, n, ldc);
    const Operand<T> left = operand(a, n, k, lda, transa, out), right = operand(b, k, n, ldb, transb, out);
    if constexpr (kComplex<T>)
        multiply_triangle(uplo == 'L', hermitian, alpha, view(left.data(), n, k, left.ld(), transa),
                          view(right.data(), k, n, right.ld(), transb), beta, output(c, n, n, ldc));
    else
        product::gemmt(matrix(left.data(), n, k, left.ld(), transa), matrix(right.data(), k, n, right.ld(), transb),
                       out, triangle_of(uplo),
                       {.alpha = static_cast<double>(alpha), .beta = static_cast<double>(beta)});
}

/// Rows first, ..., first + n - 1 of a symmetric or Hermitian matrix, whole, as columns of its transpose: element
/// (first + i, j) at i m + j.
template <class T>
void complete_rows(bool hermitian, char uplo, const T* a, std::int64_t lda, std::int64_t m, std::int64_t first,
                   std::int64_t n, T* to) {
    for (std::int64_t i = first; i < first + n; ++i) {
        T* row = to + (i - first) * m;
        const auto stored = [&](std::int64_t j) { return (uplo == 'L') == (j <= i) || i == j; };
        for (std::int64_t j = 0; j < m; ++j) row[j] = stored(j) ? a[i + j * lda] : conj_if(hermitian, a[j + i * lda]);
        if constexpr (kComplex<T>)
            if (hermitian) row[i].im = 0;
    }
}

/// A complex symmetric or Hermitian A, some rows (left) or columns (right) of it at a time.
template <class T>
void multiply_symmetric(bool hermitian, char side, char uplo, std::int64_t m, std::int64_t n, T alpha, const T* a,
                        std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
    constexpr std::int64_t kTogether = 512;
    const std::int64_t order = side == 'L' ? m : n, most = std::min(order, kTogether);
    if (alpha == of<T>(0)) return multiply(alpha, view(a, m, 0, lda), view(b, 0, n, ldb), beta, output(c, m, n, ldc));
    Scratch room(static_cast<std::size_t>(order * most) * sizeof(T));
    T* const rows = room.take<T>(order * most);
    for (std::int64_t i = 0; i < order; i += most) {
        const std::int64_t count = std::min(most, order - i);
        complete_rows(hermitian, uplo, a, lda, order, i, count, rows);
        // A's columns are its rows, conjugated where it is Hermitian.
        if (side == 'L')
            multiply(alpha, view<T>(rows, count, m, m, 'T'), view(b, m, n, ldb), beta, output(c + i, count, n, ldc));
        else
            multiply(alpha, view(b, m, n, ldb), view<T>(rows, n, count, n, hermitian ? 'R' : 'N'), beta,
                     output(c + i * ldc, m, count, ldc));
    }
}

bool is_op(char trans) { return trans != 0; }

}  // namespace

template <class T>
void gemm(const Caller& caller, char transa, char transb, std::int64_t m, std::int64_t n, std::int64_t k, T alpha,
          const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
    if (!accepts(caller, {{1, is_op(transa)},
                          {2, is_op(transb)},
                          {3, m >= 0},
                          {4, n >= 0},
                          {5, k >= 0},
                          {8, holds_rows(lda, transposes(transa) ? k : m)},
                          {10, holds_rows(ldb, transposes(transb) ? n : k)},
                          {13, holds_rows(ldc, m)}}))
        return;
    if (m == 0 || n == 0 || nothing_to_do(alpha, k, beta)) return;
    multiply_checked(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

template <class T>
void gemm_batch_strided(const Caller& caller, char transa, char transb, std::int64_t m, std::int64_t n, std::int64_t k,
                        T alpha, const T* a, std::int64_t lda, std::int64_t stridea, const T* b, std::int64_t ldb,
                        std::int64_t strideb, T beta, T* c, std::int64_t ldc, std::int64_t stridec,
                        std::int64_t batch) {
    if (!accepts(caller, {{1, is_op(transa)},
                          {2, is_op(transb)},
                          {3, m >= 0},
                          {4, n >= 0},
                          {5, k >= 0},
                          {8, holds_rows(lda, transposes(transa) ? k : m)},
                          {11, holds_rows(ldb, transposes(transb) ? n : k)},
                          {15, holds_rows(ldc, m)},
                          {17, batch >= 0}}))
        return;
    if (m == 0 || n == 0 || batch == 0 || nothing_to_do(alpha, k, beta)) return;
    if constexpr (!kComplex<T>) {
        Matrix left = matrix(a, m, k, lda, transa), right = matrix(b, k, n, ldb, transb), out = matrix(c, m, n, ldc);
        left.batch_stride = stridea, right.batch_stride = strideb, out.batch_stride = stridec;
        const bool apart = !product::batch_overlaps_itself(out, batch) && alpha != 0 &&
                           !product::may_share_memory(left, out, batch) &&
                           !product::may_share_memory(right, out, batch);
        if (apart)
            return product::gemm(
                left, right, out,
                {.alpha = static_cast<double>(alpha), .beta = static_cast<double>(beta), .batch = batch});
    }
    for (std::int64_t i = 0; i < batch; ++i)
        multiply_checked(transa, transb, m, n, k, alpha, a + i * stridea, lda, b + i * strideb, ldb, beta,
                         c + i * stridec, ldc);
}

template <class T>
void gemmt(const Caller& caller, char uplo, char transa, char transb, std::int64_t n, std::int64_t k, T alpha,
           const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
    if (!accepts(caller, {{1, uplo != 0},
                          {2, is_op(transa)},
                          {3, is_op(transb)},
                          {4, n >= 0},
                          {5, k >= 0},
                          {8, holds_rows(lda, transposes(transa) ? k : n)},
                          {10, holds_rows(ldb, transposes(transb) ? n : k)},
                          {13, holds_rows(ldc, n)}}))
        return;
    if (n == 0 || nothing_to_do(alpha, k, beta)) return;
    multiply_triangle_checked(false, uplo, transa, transb, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

template <class T>
void symm(const Caller& caller, bool hermitian, char side, char uplo, std::int64_t m, std::int64_t n, T alpha,
          const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
    const std::int64_t order = side == 'L' ? m : n;
    if (!accepts(caller, {{1, side != 0},
                          {2, uplo != 0},
                          {3, m >= 0},
                          {4, n >= 0},
                          {7, holds_rows(lda, order)},
                          {9, holds_rows(ldb, m)},
                          {12, holds_rows(ldc, m)}}))
        return;
    if (m == 0 || n == 0 || nothing_to_do(alpha, 1, beta)) return;
    const std::int64_t read = alpha == of<T>(0) ? 0 : 1;
    const Matrix out = matrix(c, m, n, ldc);
    const Operand<T> symmetric(a, order, order * read, lda, out), other(b, m, n * read, ldb, out);
    if constexpr (kComplex<T>)
        multiply_symmetric(hermitian, side, uplo, m, n, alpha, symmetric.data(), symmetric.ld(), other.data(),
                           other.ld(), beta, c, ldc);
    else
        product::symm(side == 'L' ? Side::left : Side::right, triangle_of(uplo),
                      matrix(symmetric.data(), order, order, symmetric.ld()), matrix(other.data(), m, n, other.ld()),
                      out, {.alpha = static_cast<double>(alpha), .beta = static_cast<double>(beta)});
}

namespace {

/// The checks of syrk and herk and, with ldb, of syr2k and her2k.
bool accepts_update(const Caller& caller, bool trans, char uplo, char op, std::int64_t n, std::int64_t k,
                    std::int64_t lda, const std::int64_t* ldb, std::int64_t ldc) {
    const std::int64_t rows = transposes(op) ? k : n;
    return accepts(caller, {{1, uplo != 0},
                            {2, trans},
                            {3, n >= 0},
                            {4, k >= 0},
                            {7, holds_rows(lda, rows)},
                            {9, !ldb || holds_rows(*ldb, rows)},
                            {ldb ? 12 : 10, holds_rows(ldc, n)}});
}

/// For real numbers A^T and A^H are the same; for complex numbers only A^T is accepted.
template <class T>
bool symmetric_op(char trans) {
    return trans == 'N' || trans == 'T' || (trans == 'C' && !kComplex<T>);
}

/// alpha op(A) op'(B) + alpha' op(B) op'(A) + beta C of complex matrices: ' transposes and, for Hermitian C,
/// conjugates.
template <class T>
void update_checked(bool hermitian, char uplo, char trans, std::int64_t n, std::int64_t k, T alpha, const T* a,
                    std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
    if (alpha == of<T>(0)) k = 0;  // nothing of A and B is read
    const Matrix out = matrix(c, n, n, ldc);
    // The second product reads both after the first one has changed C.
    const Operand<T> left = operand(a, n, k, lda, trans, out), right = operand(b, n, k, ldb, trans, out);
    const char other = trans != 'N' ? 'N' : hermitian ? 'C' : 'T';
    multiply_triangle_checked(hermitian, uplo, trans, other, n, k, alpha, left.data(), left.ld(), right.data(),
                              right.ld(), beta, c, ldc);
    multiply_triangle_checked(hermitian, uplo, trans, other, n, k, conj_if(hermitian, alpha), right.data(), right.ld(),
                              left.data(), left.ld(), of<T>(1), c, ldc);
}

}  // namespace

template <class T>
void syrk(const Caller& caller, char uplo, char trans, std::int64_t n, std::int64_t k, T alpha, const T* a,
          std::int64_t lda, T beta, T* c, std::int64_t ldc) {
    if (!accepts_update(caller, symmetric_op<T>(trans), uplo, trans, n, k, lda, nullptr, ldc)) return;
    if (n == 0 || nothing_to_do(alpha, k, beta)) return;
    multiply_triangle_checked(false, uplo, trans, trans == 'N' ? 'T' : 'N', n, k, alpha, a, lda, a, lda, beta, c, ldc);
}

template <class T>
void herk(const Caller& caller, char uplo, char trans, std::int64_t n, std::int64_t k, Real<T> alpha, const T* a,
          std::int64_t lda, Real<T> beta, T* c, std::int64_t ldc) {
    if (!accepts_update(caller, trans == 'N' || trans == 'C', uplo, trans, n, k, lda, nullptr, ldc)) return;
    if (n == 0 || nothing_to_do(alpha, k, beta)) return;
    multiply_triangle_checked(true, uplo, trans, trans == 'N' ? 'C' : 'N', n, k, of<T>(alpha), a, lda, a, lda,
                              of<T>(beta), c, ldc);
}

template <class T>
void syr2k(const Caller& caller, char uplo, char trans, std::int64_t n, std::int64_t k, T alpha, const T* a,
           std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
    if (!accepts_update(caller, symmetric_op<T>(trans), uplo, trans, n, k, lda, &ldb, ldc)) return;
    if (n == 0 || nothing_to_do(alpha, k, beta)) return;
    if constexpr (kComplex<T>) {
        update_checked(false, uplo, trans, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    } else {
        if (alpha == 0) k = 0;  // nothing of A and B is read
        const Matrix out = matrix(c, n, n, ldc);
        const Operand<T> left = operand(a, n, k, lda, trans, out), right = operand(b, n, k, ldb, trans, out);
        product::syr2k(matrix(left.data(), n, k, left.ld(), trans), matrix(right.data(), n, k, right.ld(), trans), out,
                       triangle_of(uplo), {.alpha = static_cast<double>(alpha), .beta = static_cast<double>(beta)});
    }
}

template <class T>
void her2k(const Caller& caller, char uplo, char trans, std::int64_t n, std::int64_t k, T alpha, const T* a,
           std::int64_t lda, const T* b, std::int64_t ldb, Real<T> beta, T* c, std::int64_t ldc) {
    if (!accepts_update(caller, trans == 'N' || trans == 'C', uplo, trans, n, k, lda, &ldb, ldc)) return;
    if (n == 0 || nothing_to_do(alpha, k, of<T>(beta))) return;
    update_checked(true, uplo, trans, n, k, alpha, a, lda, b, ldb, of<T>(beta), c, ldc);
}

namespace {

enum class Triangular { multiply, solve };

template <Triangular kWhat, class T>
void triangular(const Caller& caller, char side, char uplo, char trans, char diag, std::int64_t m, std::int64_t n,
                T alpha, const T* a, std::int64_t lda, T* b, std::int64_t ldb) {
    const std::int64_t order = side == 'L' ? m : n;
    if (!accepts(caller, {{1, side != 0},
                          {2, uplo != 0},
                          {3, is_op(trans)},
                          {4, diag != 0},
                          {5, m >= 0},
                          {6, n >= 0},
                          {9, holds_rows(lda, order)},
                          {11, holds_rows(ldb, m)}}))
        return;
    if (m == 0 || n == 0) return;
    const Matrix out = matrix(b, m, n, ldb);
    if (alpha == of<T>(0)) return multiply_checked<T>('N', 'N', m, n, 0, alpha, a, lda, b, ldb, alpha, b, ldb);
    const Operand<T> held(a, order, order, lda, out);
    const bool lower = is_lower(uplo, trans);
    if constexpr (kComplex<T>) {
        // A product from the right is the product of the transposes from the left.
        MatrixView<const T> factor = view(held.data(), order, order, held.ld(), trans);
        MatrixView<T> result = output(b, m, n, ldb);
        const bool left = side == 'L';
        if (!left) factor = factor.transpose(), result = result.transpose();
        const auto run = kWhat == Triangular::multiply ? multiply_triangular<Real<T>> : solve_triangular<Real<T>>;
        run(lower == left, diag == 'U', alpha, factor, result);
    } else {
        const auto run = kWhat == Triangular::multiply ? product::trmm : product::trsm;
        run(side == 'L' ? Side::left : Side::right, lower ? Triangle::lower : Triangle::upper,
            diag == 'U' ? Diagonal::unit : Diagonal::stored, static_cast<double>(alpha),
            matrix(held.data(), order, order, held.ld(), trans), out);
    }
}

}  // namespace

template <class T>
void trmm(const Caller& caller, char side, char uplo, char trans, char diag, std::int64_t m, std::int64_t n, T alpha,
          const T* a, std::int64_t lda, T* b, std::int64_t ldb) {
    triangular<Triangular::multiply>(caller, side, uplo, trans, diag, m, n, alpha, a, lda, b, ldb);
}

template <class T>
void trsm(const Caller& caller, char side, char uplo, char trans, char diag, std::int64_t m, std::int64_t n, T alpha,
          const T* a, std::int64_t lda, T* b, std::int64_t ldb) {
    triangular<Triangular::solve>(caller, side, uplo, trans, diag, m, n, alpha, a, lda, b, ldb);
}

using I = std::int64_t;
#define TENON_INSTANTIATE(T)                                                                                          \
    template void gemm(const Caller&, char, char, I, I, I, T, const T*, I, const T*, I, T, T*, I);                    \
    template void gemm_batch_strided(const Caller&, char, char, I, I, I, T, const T*, I, I, const T*, I, I, T, T*, I, \
                                     I, I);                                                                           \
    template void gemmt(const Caller&, char, char, char, I, I, T, const T*, I, const T*, I, T, T*, I);                \
    template void symm(const Caller&, bool, char, char, I, I, T, const T*, I, const T*, I, T, T*, I);                 \
    template void syrk(const Caller&, char, char, I, I, T, const T*, I, T, T*, I);                                    \
    template void syr2k(const Caller&, char, char, I, I, T, const T*, I, const T*, I, T, T*, I);                      \
    template void trmm(const Caller&, char, char, char, char, I, I, T, const T*, I, T*, I);                           \
    template void trsm(const Caller&, char, char, char, char, I, I, T, const T*, I, T*, I);
TENON_INSTANTIATE(float)
TENON_INSTANTIATE(double)
TENON_INSTANTIATE(Complex<float>)
TENON_INSTANTIATE(Complex<double>)
#undef TENON_INSTANTIATE
#define TENON_INSTANTIATE(T)                                                                      \
    template void herk<T>(const Caller&, char, char, I, I, Real<T>, const T*, I, Real<T>, T*, I); \
    template void her2k<T>(const Caller&, char, char, I, I, T, const T*, I, const T*, I, Real<T>, T*, I);
TENON_INSTANTIATE(Complex<float>)
TENON_INSTANTIATE(Complex<double>)
#undef TENON_INSTANTIATE

}  // namespace tenon::blas
