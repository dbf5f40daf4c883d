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
/// `tf32` float32 operands are read as TF32. Products of int8 and uint8 run in a kernel of our own (product_tape.h).
/// Returns false, with nothing done, for dtypes that the library is not used for, or if there is no library. For each
/// problem of shapes, strides and alignment the process keeps one algorithm, so repeated runs have the same bits: the
/// library's first choice, or, for bfloat16 and float16, the fastest of those that give the same bits, found by timing
/// in the first call that is not recorded (some milliseconds).
bool contract(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels,
              bool tf32 = false);

namespace detail {
/// For tests: if at least 0, the index of the algorithm that every product takes among those with the same bits; then
/// none is timed.
extern int nth_algorithm;
}  // namespace detail

}  // namespace tenon::cuda
