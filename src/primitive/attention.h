// The problems that attention's nodes describe, for code that runs them on a device
// (src/schedule/device_primitives.cpp).
#pragma once

#include <span>

#include "base/view.h"
#include "product/attention/attention.h"
#include "tensor/node.h"

namespace tenon {

/// The problem of a node `attention`, `attention_gradient` or `attention_tangent`. Its operands query, key, value and
/// so on follow `begin` others.
product::Attention attention_of(const Node& n, std::span<const View> in, std::size_t begin);

/// The parts of attention's vector: what is kept of each row, then the output.
struct AttentionVector {
    View kept;  // in elements of the output's dtype, with the gap after it
    View out;
};
AttentionVector attention_vector(const product::Attention& a, const View& vector);
/// The parts of the gradients' vector, of a node `attention_gradient`.
product::AttentionGradients attention_gradients(const Node& n, const product::Attention& a, const View& vector);
/// The tangents of a node `attention_tangent`, its first operands.
product::AttentionTangents attention_tangents(const product::Attention& a, const Node& n, std::span<const View> in);

}  // namespace tenon
