// BLAS as the routines of src/lapack call it: by its symbols, so that in libtenon_lapack.so it is the process's BLAS.
// And routines of the reference LAPACK.
#pragma once

#include <cstdint>

#include "lapack/fortran.h"

namespace tenon::lapack {

/// A matrix by columns.
template <class T>
struct Columns {
    T* data;
    std::int64_t ld;

    T* at(std::int64_t i, std::int64_t j) const { return data + i + j * ld; }
};

#define TENON_DECLARE_BLAS(x, T)                                                                                       \
    extern "C" {                                                                                                       \
    void TENON_SYMBOL(x##gemm_)(Option, Option, Int, Int, Int, const T*, const T*, Int, const T*, Int, const T*, T*,   \
                                Int, Length, Length);                                                                  \
    void TENON_SYMBOL(x##syrk_)(Option, Option, Int, Int, const T*, const T*, Int, const T*, T*, Int, Length, Length); \
    void TENON_SYMBOL(x##trsm_)(Option, Option, Option, Option, Int, Int, const T*, const T*, Int, T*, Int, Length,    \
                                Length, Length, Length);                                                               \
    void TENON_SYMBOL(x##trmm_)(Option, Option, Option, Option, Int, Int, const T*, const T*, Int, T*, Int, Length,    \
                                Length, Length, Length);                                                               \
    void TENON_SYMBOL(x##larfg_)(Int, T*, T*, Int, T*);                                                                \
    T TENON_SYMBOL(x##nrm2_)(Int, const T*, Int);                                                                      \
    }                                                                                                                  \
    inline void larfg(int n, T* alpha, T* x, T* tau) {                                                                 \
        const int one = 1;                                                                                             \
        TENON_SYMBOL(x##larfg_)(&n, alpha, x, &one, tau);                                                              \
    }                                                                                                                  \
    inline T nrm2(int n, const T* x) {                                                                                 \
        const int one = 1;                                                                                             \
        return TENON_SYMBOL(x##nrm2_)(&n, x, &one);                                                                    \
    }                                                                                                                  \
    inline void gemm(char transa, char transb, int m, int n, int k, T alpha, const T* a, int lda, const T* b, int ldb, \
                     T beta, T* c, int ldc) {                                                                          \
        TENON_SYMBOL(x##gemm_)(&transa, &transb, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc, 1, 1);          \
    }                                                                                                                  \
    inline void syrk(char uplo, char trans, int n, int k, T alpha, const T* a, int lda, T beta, T* c, int ldc) {       \
        TENON_SYMBOL(x##syrk_)(&uplo, &trans, &n, &k, &alpha, a, &lda, &beta, c, &ldc, 1, 1);                          \
    }                                                                                                                  \
    inline void trsm(char side, char uplo, char trans, char diag, int m, int n, T alpha, const T* a, int lda, T* b,    \
                     int ldb) {                                                                                        \
        TENON_SYMBOL(x##trsm_)(&side, &uplo, &trans, &diag, &m, &n, &alpha, a, &lda, b, &ldb, 1, 1, 1, 1);             \
    }                                                                                                                  \
    inline void trmm(char side, char uplo, char trans, char diag, int m, int n, T alpha, const T* a, int lda, T* b,    \
                     int ldb) {                                                                                        \
        TENON_SYMBOL(x##trmm_)(&side, &uplo, &trans, &diag, &m, &n, &alpha, a, &lda, b, &ldb, 1, 1, 1, 1);             \
    }
TENON_DECLARE_BLAS(s, float)
TENON_DECLARE_BLAS(d, double)
#undef TENON_DECLARE_BLAS

}  // namespace tenon::lapack
