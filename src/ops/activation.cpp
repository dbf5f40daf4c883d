// Activation functions. Branches are chosen by comparison, as in elementwise.cpp.
#include <numbers>

#include "ops/ops.h"

namespace tenon {

Tensor sigmoid(const Tensor& x) {
    check_floating("sigmoid", x);
    return logistic(x);
}

// NaN <= 0 is false, so NaN stays. The 0 is a constant of the graph, so a device can fuse relu into its product.
Tensor relu(const Tensor& x) {
    check_defined("relu", x);
    const Tensor zero = constant(0, x.dtype());
    return select(less_equal(x, zero), zero, x);
}

Tensor leaky_relu(const Tensor& x, Scalar slope) {
    return widened("leaky_relu", x, [&](const Tensor& v) { return select(less(v, 0), slope * v, v); });
}

Tensor elu(const Tensor& x, Scalar alpha) {
    return widened("elu", x, [&](const Tensor& v) {
        const Tensor above = less(Tensor(0.0), v);
        return select(above, v, alpha * expm1(select(above, Tensor(0.0), v)));
    });
}

// The derivatives of these need three intermediates, each as large as x. Computing them again from x takes no longer
// than reading them, and only x is kept.

Tensor gelu(const Tensor& x) {
    const CheckpointIf checkpoint(true);
    return widened("gelu", x, [](const Tensor& v) { return 0.5 * v * (1 + erf(v * (1 / std::numbers::sqrt2))); });
}

Tensor gelu_tanh(const Tensor& x) {
    const CheckpointIf checkpoint(true);
    return widened("gelu_tanh", x, [](const Tensor& v) {
        constexpr double kScale = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
        return 0.5 * v * (1 + tanh(kScale * v * (1 + 0.044715 * v * v)));
    });
}

Tensor silu(const Tensor& x) {
    return widened("silu", x, [](const Tensor& v) { return v * logistic(v); });
}

Tensor softplus(const Tensor& x) {
    return widened("softplus", x, [](const Tensor& v) {
        const Tensor below = less(v, 0);
        return select(below, Tensor(0.0), v) + log1p(exp(select(below, v, negative(v))));
    });
}

}  // namespace tenon
