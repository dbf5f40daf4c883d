// Level 2: each operation once for its types, arguments as in Fortran, checked in the reference's order. `trans` may be
// 'R', conjugated but not transposed, which C's row-major layout needs.
#pragma once

#include "blas/caller.h"
#include "blas/scalar.h"

namespace tenon::blas {

template <class T>
void gemv(const Caller&, char trans, std::int64_t m, std::int64_t n, T alpha, const T* a, std::int64_t lda, const T* x,
          std::int64_t incx, T beta, T* y, std::int64_t incy);
template <class T>
void gbmv(const Caller&, char trans, std::int64_t m, std::int64_t n, std::int64_t kl, std::int64_t ku, T alpha,
          const T* a, std::int64_t lda, const T* x, std::int64_t incx, T beta, T* y, std::int64_t incy);
/// A = alpha x y^T + A; either vector may be conjugated.
template <class T>
void ger(const Caller&, bool conjugate_x, bool conjugate_y, std::int64_t m, std::int64_t n, T alpha, const T* x,
         std::int64_t incx, const T* y, std::int64_t incy, T* a, std::int64_t lda);

/// What is stored of a symmetric, Hermitian or triangular matrix, and how.
enum class Storage : std::uint8_t { full, packed, band };

/// Symmetric or, for complex numbers, Hermitian: symv, spmv, sbmv, hemv, hpmv, hbmv. lda and k are used if the storage
/// has them. For a Hermitian matrix by rows, the stored elements are conjugates.
template <class T>
void symv(const Caller&, Storage, char uplo, std::int64_t n, std::int64_t k, T alpha, const T* a, std::int64_t lda,
          const T* x, std::int64_t incx, T beta, T* y, std::int64_t incy);
/// trmv, tpmv, tbmv.
template <class T>
void trmv(const Caller&, Storage, char uplo, char trans, char diag, std::int64_t n, std::int64_t k, const T* a,
          std::int64_t lda, T* x, std::int64_t incx);
/// trsv, tpsv, tbsv.
template <class T>
void trsv(const Caller&, Storage, char uplo, char trans, char diag, std::int64_t n, std::int64_t k, const T* a,
          std::int64_t lda, T* x, std::int64_t incx);
/// syr, spr, her, hpr: A = alpha x x^H + A.
template <class T>
void syr(const Caller&, Storage, char uplo, std::int64_t n, Real<T> alpha, const T* x, std::int64_t incx, T* a,
         std::int64_t lda);
/// syr2, spr2, her2, hpr2.
template <class T>
void syr2(const Caller&, Storage, char uplo, std::int64_t n, T alpha, const T* x, std::int64_t incx, const T* y,
          std::int64_t incy, T* a, std::int64_t lda);

}  // namespace tenon::blas
