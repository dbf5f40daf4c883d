// Products of narrow types: bfloat16 into float32 and 8-bit integers into int32.
#pragma once

#include "blas/caller.h"
#include "tenon/dtype.h"

namespace tenon::blas {

/// C = alpha A B + beta C, A and B bfloat16, C float32 or bfloat16; products and sums by the engine's bfloat16 law.
void gemm_bfloat16(const Caller&, char transa, char transb, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
                   const void* a, std::int64_t lda, const void* b, std::int64_t ldb, float beta, DType c_type, void* c,
                   std::int64_t ldc);

/// C = alpha (A + ao) (B + bo) + beta C + oc, the sum exact in int32. `offset` says which oc is added to an element:
/// 'F' oc[0], 'C' oc[row], 'R' oc[column]. With contiguous columns A is int8 and B uint8 (MKL's names); the types are
/// arguments, because with contiguous rows they are exchanged. If alpha is not 1 or beta not 0, the result is computed
/// in float64, rounded to nearest and saturated.
void gemm_int8(const Caller&, char transa, char transb, char offset, std::int64_t m, std::int64_t n, std::int64_t k,
               float alpha, DType a_type, const void* a, std::int64_t lda, int ao, DType b_type, const void* b,
               std::int64_t ldb, int bo, float beta, std::int32_t* c, std::int64_t ldc, const std::int32_t* oc);

}  // namespace tenon::blas
