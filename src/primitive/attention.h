// What attention's nodes say, for those who run them elsewhere (src/schedule/device_primitives.cpp).
#pragma once

#include <span>

#include "base/view.h"
#include "product/attention/attention.h"
#include "tensor/node.h"

namespace tenon {

/// The problem of a node `attention`, `attention_gradient` or `attention_tangent`, whose first `begin` operands are
/// others'.
product::Attention attention_of(const Node& n, std::span<const View> in, std::size_t begin);

/// The parts of attention's vector: the output, and what is kept of each row before it.
struct AttentionVector {
    View kept;  // with the gap behind what is kept, in elements of the output's dtype
    View out;
};
AttentionVector attention_vector(const product::Attention& a, const View& vector);
/// The parts of the gradients' vector, of a node `attention_gradient`.
product::AttentionGradients attention_gradients(const Node& n, const product::Attention& a, const View& vector);
/// The tangents of a node `attention_tangent`, its first operands.
product::AttentionTangents attention_tangents(const product::Attention& a, const Node& n, std::span<const View> in);

}  // namespace tenon
