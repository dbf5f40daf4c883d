// The two transforms, on graphs.
#pragma once

#include <span>
#include <vector>

#include "tensor/node.h"

namespace tenon::transform {

/// Tangents of `outputs` as a graph that is linear in `tangents`, those of `inputs`. A tangent is undefined if its
/// output depends on no input or is not floating. The graph beyond `inputs` is not walked. Nodes of a checkpoint are
/// recorded again, so that the values that their tangents need are recomputed rather than kept.
std::vector<Tensor> linearize(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                              std::span<const Tensor> tangents);

/// Cotangents of `variables` of a graph that is linear in them, given those of `outputs`. An undefined output or
/// cotangent counts as zero; the result is undefined where it is zero.
std::vector<Tensor> adjoint(std::span<const Tensor> outputs, std::span<const Tensor> variables,
                            std::span<const Tensor> cotangents);

/// Whether every step from `variables` to `output` is linear. The rule of a caller may not be.
bool is_linear(std::span<const Tensor> variables, const Tensor& output);

/// Every node between `sources` (not included) and `outputs` that depends on a source, operands first.
std::vector<Node*> between(std::span<const Tensor> sources, std::span<const Tensor> outputs);

}  // namespace tenon::transform
