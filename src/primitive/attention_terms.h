// Attention written out in other primitives, with all its weights in memory: what its bias's gradient and its
// derivatives beyond the first are made of.
#pragma once

#include <optional>

#include "tenon/attention.h"
#include "tenon/tensor.h"

namespace tenon {

/// What a node of attention is told, beside its operands.
struct AttentionAttributes {
    double scale = 1;
    bool is_causal = false;
    std::int64_t left = -1, right = -1;  // -1: no bound
};

/// Any may be undefined among tangents: zero.
struct AttentionOperands {
    Tensor q, k, v, bias;
};

class AttentionTerms {
  public:
    /// `mask` and `lengths` may be undefined. Operands are of float32 or float64.
    AttentionTerms(const AttentionAttributes& attributes, const AttentionOperands& x, const Tensor& mask,
                   const Tensor& lengths);

    /// The derivative of the output's tangent (along `first`) along `second`, of what is not linear in `first`.
    Tensor second_tangent(const AttentionOperands& first, const AttentionOperands& second) const;
    /// The gradients' derivative along `d` and the cotangent's `dct` (undefined: zero).
    AttentionOperands gradient_tangent(const Tensor& ct, const AttentionOperands& d, const Tensor& dct) const;
    /// Of the bias, in its shape.
    Tensor bias_gradient(const Tensor& ct) const;

  private:
    Tensor logits(const Tensor& q, const Tensor& k) const;
    Tensor logits_tangent(const AttentionOperands& d) const;
    Tensor weights_tangent(const Tensor& dz) const;
    Tensor values(const Tensor& weights, const Tensor& v) const;
    Tensor weights_cotangent(const Tensor& ct, const Tensor& v) const;
    Tensor of_pairs(const Tensor& x) const;  // zero for pairs that do not take part, whatever their elements are
    Tensor grouped(const Tensor& x) const;  // (batch, rows, heads, n) with its heads in groups

    const AttentionAttributes attributes_;
    AttentionOperands x_;
    std::int64_t kv_heads_, group_;
    // (batch, kv_heads, group, queries, keys): which pairs take part (undefined: all), and their weights.
    Tensor part_, p_;
};

}  // namespace tenon
