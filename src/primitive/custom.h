// A function with a derivative of the caller's own.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "tenon/tensor.h"

namespace tenon {

/// Tangent of the output, from the arguments, the output and the arguments' tangents (zeros where one does not vary).
using TangentFunction =
    std::function<Tensor(std::span<const Tensor> args, const Tensor& out, std::span<const Tensor> d)>;
/// Cotangents of the arguments, from the arguments, the output and its cotangent; an undefined one counts as zero.
using PullbackFunction =
    std::function<std::vector<Tensor>(std::span<const Tensor> args, const Tensor& out, const Tensor& ct)>;

/// `value`, a function of `args`, whose derivative is taken by the given rule instead of through the graph.
Tensor with_custom_tangent(const Tensor& value, std::span<const Tensor> args, TangentFunction rule);
Tensor with_custom_pullback(const Tensor& value, std::span<const Tensor> args, PullbackFunction rule);

}  // namespace tenon
