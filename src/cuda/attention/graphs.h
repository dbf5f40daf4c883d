// Attention and its gradients as cuDNN graphs: the sequences of operations that its engines know.
#pragma once

#include <compare>

#include "cuda/attention/cudnn.h"

namespace tenon::cuda::cudnn {

/// Numbers of the memory that a plan is run with.
enum Operand : std::int64_t {
    kQuery = 1,
    kKey,
    kValue,
    kOutput,
    kStatistics,  // (batch, heads, queries), float32: the logarithm of each row's sum
    kBias,
    kQueryLengths,  // (batch,), int32
    kKeyLengths,
    kCotangent,
    kQueryGradient,
    kKeyGradient,
    kValueGradient,
    kProducts,  // as kStatistics: scratch
    kSums,  // (batch, heads, queries, depth), float32: scratch, where dq is summed there
};

inline constexpr std::int64_t kUnbounded = INT64_MAX;

/// What a plan is made for. Axes are (batch, heads, length, depth), strides are in elements.
struct AttentionForm {
    Type type = Type::bfloat16;
    std::int64_t batch = 1, heads = 1, kv_heads = 1, queries = 1, keys = 1, depth = 1, value_depth = 1;
    Extents4 query{}, key{}, value{}, output{};  // strides
    Extents4 cotangent{}, query_gradient{}, key_gradient{}, value_gradient{};  // strides, of gradients
    bool has_bias = false, has_lengths = false;
    Extents4 bias_extents{}, bias{};  // float32
    float scale = 1;
    /// Key j takes part for query i where i - left <= j <= i + right; either may be negative.
    std::int64_t left = kUnbounded, right = kUnbounded;
    /// Of the gradients: dq is summed in float32 by atomic additions, in any order; else the gradients of all weights
    /// are in memory.
    bool sums_anywhere = false;
    auto operator<=>(const AttentionForm&) const = default;
};

std::unique_ptr<Plan> attention_plan(Gpu& gpu, const AttentionForm& form);
std::unique_ptr<Plan> gradient_plan(Gpu& gpu, const AttentionForm& form);

}  // namespace tenon::cuda::cudnn
