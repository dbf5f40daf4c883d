// Any two-operand einsum over strided views, without copying an operand first.
//
// The order law. A float32 or float64 output element is one chain of fused multiply-adds over k ascending within blocks
// of kBlockK; the block sums are added in order; every kSplitK elements of k start a new sum, and these join in a fixed
// pairwise tree. So the bits depend on K alone: not on threads, cache blocking, the instruction set, the strides or the other rows.
// float16 operands are widened to float32 first. bfloat16 follows the hardware dot product: for each pair of k, the odd
// element is accumulated before the even one, and subnormal inputs and sums are flushed to zero. Integers are exact modulo 2^bits.
#pragma once

#include <cstdint>
#include <span>

#include "base/view.h"

namespace tenon::product {

inline constexpr std::int64_t kBlockK = 384;
inline constexpr std::int64_t kSplitK = 16 * kBlockK;

/// A label for each axis. A label in `a` and `b` and the output is a batch axis; in both operands but not the output, it
/// is summed, in the order in which `a` lists them (the first is the slowest); in one operand and the output, it is a row (a)
/// or column (b) axis. No label repeats within an operand, and none stands in one operand alone. Extents of a label agree.
struct Labels {
    std::span<const std::uint8_t> a, b, out;
};

/// Operands share a dtype; the output has it too, or float32 for float16 and bfloat16 operands, or int32 for 8-bit ones. It must not overlap an operand.
void contract(const View& a, const View& b, const View& out, const Labels& labels);
/// The law, one output element at a time.
void contract_reference(const View& a, const View& b, const View& out, const Labels& labels);

}  // namespace tenon::product
