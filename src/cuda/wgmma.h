// Prints the warpgroup's matrix product (wgmma) as a device function, for compute capability 9.0a.
#pragma once

#include <string>

#include "tenon/dtype.h"

namespace tenon::cuda {

enum class LeftOperand { shared, registers };

/// `wgmma<b_transposed>(d, a, b, add)` with the left operand in registers, or `wgmma<a_transposed, b_transposed>(...)`
/// with both in shared memory. It computes the 64 x n sums d = a b, or d += a b where `add`. a is 64 x 16 and b 16 x n,
/// in bf16, k-major or transposed. n is a multiple of 8, at most 256. A thread holds n / 2 sums.
std::string print_wgmma(int n, LeftOperand left);
/// `wgmma(d, a, b, add)` for operands of these dtypes, bfloat16, float16, int8 or uint8, k-major in shared memory. A
/// product sums over 32 bytes of k. The sums of bytes are int, modulo 2^32.
std::string print_wgmma(int n, DType a, DType b);

}  // namespace tenon::cuda
