// Dense products by cuBLASLt (blaslt.h). Any contraction of views is transposed into strided batches of matrices: axes
// that a single stride can walk are merged, the rest becomes batch, and only what has no such form is copied first.
#pragma once

#include <string>

#include "base/view.h"
#include "cuda/blaslt.h"
#include "cuda/device.h"
#include "product/contract.h"

namespace tenon::cuda {

/// out = the contraction of a and b, in float64 for float64 and float32 sums for float32, bfloat16 and float16; with
/// `tf32` float32 operands are read as TF32. Of int8 and uint8 by our own kernel (product_tape.h). False, and nothing
/// done, for dtypes the library is not asked for, or without it. One algorithm for each problem of shape, strides and
/// alignment, kept for the process: the library's first choice, or, for bfloat16 and float16, the fastest of those that
/// give the same bits as it, which the first call that is not recorded times (some milliseconds). So repeated runs have
/// the same bits.
bool contract(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels,
              bool tf32 = false);

namespace detail {
/// For tests: from 0 on, the index of the algorithm that every product takes, among those with the same bits; none is
/// timed.
extern int nth_algorithm;
}  // namespace detail

}  // namespace tenon::cuda
