// Linear layers with what follows the product: the quantization of those in u8s8, and an element of their results.
#pragma once

#include "bench/problem.h"

namespace bench {

/// In u8s8: x stands for kScaleX (q - kZeroX), y for kScaleY (q - kZeroY), W for linear_scale(j) q in column j; b is
/// float32.
inline constexpr std::int32_t kZeroX = 64, kZeroY = 128;
inline constexpr float kScaleX = 0x1p-6F, kScaleY = 0x1p-5F;
float linear_scale(const Problem& problem, std::int64_t column);
float linear_bias(std::int64_t column);

/// act(x) in float64.
double activated(LinearKind::Act act, double x);
/// The element of y, in u8s8 as stored, of a sum over k of real numbers or, in u8s8, of (x - kZeroX) W.
double linear_element(const Problem& problem, double sum, double bias, double residual, std::int64_t column);
/// How far an element may be off: the sum's rounding and the activation's; in bfloat16 some roundings to it, in u8s8
/// one step.
double linear_tolerance(const Problem& problem);

}  // namespace bench
