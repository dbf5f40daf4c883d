// Level 3: each operation once for its types, arguments as in Fortran (columns contiguous), checked in the reference's
// order. Float and double are the engine's products; complex numbers are real products of interleaved parts
// (complex.h). An operand that shares memory with the result is copied first.
#pragma once

#include "blas/caller.h"
#include "blas/scalar.h"

namespace tenon::blas {

template <class T>
void gemm(const Caller&, char transa, char transb, std::int64_t m, std::int64_t n, std::int64_t k, T alpha, const T* a,
          std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);

/// Products that are `stride` elements apart. Positions of errors are those of OpenBLAS and MKL.
template <class T>
void gemm_batch_strided(const Caller&, char transa, char transb, std::int64_t m, std::int64_t n, std::int64_t k,
                        T alpha, const T* a, std::int64_t lda, std::int64_t stridea, const T* b, std::int64_t ldb,
                        std::int64_t strideb, T beta, T* c, std::int64_t ldc, std::int64_t stridec, std::int64_t batch);

/// One triangle of gemm's result (LAPACK 3.12's gemmtr).
template <class T>
void gemmt(const Caller&, char uplo, char transa, char transb, std::int64_t n, std::int64_t k, T alpha, const T* a,
           std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);

/// hemm if A is Hermitian.
template <class T>
void symm(const Caller&, bool hermitian, char side, char uplo, std::int64_t m, std::int64_t n, T alpha, const T* a,
          std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);

template <class T>
void syrk(const Caller&, char uplo, char trans, std::int64_t n, std::int64_t k, T alpha, const T* a, std::int64_t lda,
          T beta, T* c, std::int64_t ldc);
template <class T>
void herk(const Caller&, char uplo, char trans, std::int64_t n, std::int64_t k, Real<T> alpha, const T* a,
          std::int64_t lda, Real<T> beta, T* c, std::int64_t ldc);
template <class T>
void syr2k(const Caller&, char uplo, char trans, std::int64_t n, std::int64_t k, T alpha, const T* a, std::int64_t lda,
           const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);
template <class T>
void her2k(const Caller&, char uplo, char trans, std::int64_t n, std::int64_t k, T alpha, const T* a, std::int64_t lda,
           const T* b, std::int64_t ldb, Real<T> beta, T* c, std::int64_t ldc);

template <class T>
void trmm(const Caller&, char side, char uplo, char trans, char diag, std::int64_t m, std::int64_t n, T alpha,
          const T* a, std::int64_t lda, T* b, std::int64_t ldb);
template <class T>
void trsm(const Caller&, char side, char uplo, char trans, char diag, std::int64_t m, std::int64_t n, T alpha,
          const T* a, std::int64_t lda, T* b, std::int64_t ldb);

}  // namespace tenon::blas
