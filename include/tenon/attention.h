// Attention (Vaswani et al., "Attention is all you need", 2017), named and laid out as jax.nn.dot_product_attention.
//
// ```cpp
// auto key = random::Key(7);
// const Tensor q = random::normal(key.next(), {1, 16, 4, 8});  // batch, queries, heads, depth
// const Tensor k = random::normal(key.next(), {1, 16, 2, 8}), v = random::normal(key.next(), {1, 16, 2, 8});
// const Tensor y = dot_product_attention(q, k, v, {.is_causal = true});
// assert(y.shape() == (Shape{1, 16, 4, 8}));
// ```
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "tenon/tensor.h"

namespace tenon {

struct AttentionOptions {
    /// Added to the logits; broadcasts to (batch, heads, queries, keys).
    std::optional<Tensor> bias = {};
    /// Of booleans, true where the key takes part; broadcasts to the same.
    std::optional<Tensor> mask = {};
    /// By what products of queries and keys are multiplied; 1 / sqrt(depth) by default.
    std::optional<double> scale = {};
    /// Query i attends to keys j <= i, both counted from 0.
    bool is_causal = false;
    /// Integers (batch,), each in [0, keys]: keys from there on take no part.
    std::optional<Tensor> key_value_seq_lengths = {};
    /// (left, right), not negative: query i attends to keys i - left to i + right.
    std::optional<std::pair<std::int64_t, std::int64_t>> local_window_size = {};
};

/// softmax(scale * query key^T + bias) value over the keys that take part: query (batch, queries, heads, depth), key
/// (batch, keys, kv_heads, depth) and value (batch, keys, kv_heads, value depth) give (batch, queries, heads, value
/// depth). Heads are a multiple of kv_heads, and that many in a row share a key head (grouped and multi-query
/// attention; Shazeer, 2019; Ainslie et al., 2023).
///
/// Floating dtypes; operands are promoted to a common one, bias to float32 (or float64 with float64 operands). Sums,
/// logits and weights are float32 (float64); bfloat16 rounds the weights before they are multiplied by the values,
/// float16 is computed in float32 and rounded once. A row without a key that takes part is zero. Elements of keys and
/// values that take no part are not read, and may be NaN; logits that are NaN or +inf give NaN. A row whose logits are
/// all -inf, which only a bias or infinite operands can cause, is zero.
///
/// One pass, with memory in proportion to the lengths, forward and backward: the weights of a block of keys exist at a
/// time (Milakov and Gimelshein, 2018; Dao et al., "FlashAttention", 2022), and the gradient computes them again from
/// the logarithm of each row's sum. The bits of a row depend on its own operands and the options alone, whatever the
/// batch, the threads and the instruction set; docs/attention.md has the order of summation.
///
/// On a GPU float16 rounds as bfloat16 does, elements that take no part may not be NaN or infinite, and the order is
/// that of cuDNN or of products (docs/cuda/attention.md): the same bits each time and in any place of the batch.
///
/// 2 (depth + value depth) FLOPs for each pair of query and key that takes part; blocks of keys that are masked whole
/// by causality, window or lengths cost nothing. The gradient costs 2.5 times that. The gradient of the bias,
/// forward-mode and higher derivatives are plain code: right, slow, and with memory for all weights.
///
/// Throws ShapeError, TypeError or ValueError when recorded, naming the shapes and the rule; ValueError at evaluation
/// for a length outside [0, keys].
TENON_API Tensor dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                       const AttentionOptions& options = {});

}  // namespace tenon
