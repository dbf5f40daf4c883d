// What tests and benchmarks of networks of equal layers share.
#pragma once

#include <utility>

#include "tenon/functions.h"
#include "tenon/transform.h"

namespace tenon::schedule::testing {

/// The mean square of what the layers make of x, one after the other, each with a child of `params`; and its gradients.
template <class Layer>
std::pair<Tensor, Tree> loss_and_gradients(const Layer& layer, const Tree& params, const Tensor& x) {
    return value_and_grad_at(
        [&](const Tree& p) {
            Tensor y = x;
            for (const auto& [name, child] : p.children()) y = layer(child, y);
            return mean(square(y));
        },
        params);
}

}  // namespace tenon::schedule::testing
