// Solves with a triangle in rectangular full packed form: it is unpacked, and one trsm does the rest, whose bits the
// solution then has. (The reference calls trsm and gemm on the halves of the packed form, whose sums have another
// order.)
#include <algorithm>

#include "lapack/or_end.h"
#include "lapack/products.h"
#include "product/dense/scratch.h"

extern "C" {
void TENON_SYMBOL(stfttr_)(const char*, const char*, const int*, const float*, float*, const int*, int*, std::size_t,
                           std::size_t);
void TENON_SYMBOL(dtfttr_)(const char*, const char*, const int*, const double*, double*, const int*, int*, std::size_t,
                           std::size_t);
}

namespace tenon::lapack {
namespace {

void unpack(char transr, char uplo, int n, const float* packed, float* a, int lda) {
    int info = 0;
    TENON_SYMBOL(stfttr_)(&transr, &uplo, &n, packed, a, &lda, &info, 1, 1);
}
void unpack(char transr, char uplo, int n, const double* packed, double* a, int lda) {
    int info = 0;
    TENON_SYMBOL(dtfttr_)(&transr, &uplo, &n, packed, a, &lda, &info, 1, 1);
}

template <class T>
void tfsm(char transr, char side, char uplo, char trans, char diag, int m, int n, T alpha, const T* a, T* b, int ldb) {
    const auto is = [](char option, char one, char other) { return upper(option) == one || upper(option) == other; };
    if (check<T>("TFSM", {{1, is(transr, 'N', 'T')},
                          {2, is(side, 'L', 'R')},
                          {3, is(uplo, 'L', 'U')},
                          {4, is(trans, 'N', 'T')},
                          {5, is(diag, 'N', 'U')},
                          {6, m >= 0},
                          {7, n >= 0},
                          {11, holds_rows(ldb, m)}}) != 0 ||
        m == 0 || n == 0)
        return;
    if (alpha == 0) {
        for (std::int64_t j = 0; j < n; ++j) std::fill_n(b + j * ldb, m, T(0));
        return;
    }
    const int order = upper(side) == 'L' ? m : n, ld = (order + 7) / 8 * 8 + 8;
    product::dense::Scratch room(static_cast<std::size_t>(ld) * static_cast<std::size_t>(order) * sizeof(T));
    T* const triangle = room.take<T>(std::int64_t{ld} * order);
    unpack(transr, uplo, order, a, triangle, ld);
    trsm(side, uplo, trans, diag, m, n, alpha, triangle, ld, b, ldb);
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(stfsm_)(Option transr, Option side, Option uplo, Option trans, Option diag, Int m,
                                           Int n, const float* alpha, const float* a, float* b, Int ldb, Length, Length,
                                           Length, Length, Length) {
    or_end("stfsm", [&] { tfsm(*transr, *side, *uplo, *trans, *diag, *m, *n, *alpha, a, b, *ldb); });
}
TENON_LAPACK_API void TENON_SYMBOL(dtfsm_)(Option transr, Option side, Option uplo, Option trans, Option diag, Int m,
                                           Int n, const double* alpha, const double* a, double* b, Int ldb, Length,
                                           Length, Length, Length, Length) {
    or_end("dtfsm", [&] { tfsm(*transr, *side, *uplo, *trans, *diag, *m, *n, *alpha, a, b, *ldb); });
}
}

}  // namespace tenon::lapack
