#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/optim.h"

namespace tenon::optim {
namespace {

/// Leaves in the dtype of their norm, times a power of two that keeps the sum of their squares finite: 1 up to the
/// magnitude that 2^40 leaves may have.
struct Scaled {
    std::vector<Tensor> leaves;
    Tensor scale;
    Tensor norm;  // of the scaled leaves
};

Tensor number(double value, DType t) { return full({}, value, t); }

Scaled scaled(const Tree& tree) {
    std::vector<Tensor> leaves = tree.leaves();
    const bool wide = std::any_of(leaves.begin(), leaves.end(), [](auto& x) { return x.dtype() == DType::float64; });
    const DType t = wide ? DType::float64 : DType::float32;
    Tensor largest = number(0, t);
    for (Tensor& x : leaves) {
        x = astype(x, t);
        if (x.size() > 0) largest = maximum(largest, maximum(max(x), -min(x)));
    }
    const int limit = wide ? 400 : 40, exponent = wide ? -700 : -96;
    const Tensor scale =
        where(greater(largest, number(std::ldexp(1, limit), t)), number(std::ldexp(1, exponent), t), number(1, t));
    Tensor squares = number(0, t);
    for (Tensor& x : leaves) {
        x = x * scale;
        squares = squares + sum(x * x);
    }
    return {std::move(leaves), scale, sqrt(squares)};
}

}  // namespace

Tensor global_norm(const Tree& tree) {
    const Scaled s = scaled(tree);
    return s.norm / s.scale;
}

Tree clip_by_global_norm(const Tree& grads, double max_norm) {
    if (!(max_norm > 0)) throw ValueError(text("clip_by_global_norm: a norm of ", max_norm, " is not positive"));
    const Scaled s = scaled(grads);
    // If the leaves' dtype does not hold the limit, the dtype's largest number does as well: neither clips anything.
    const double largest = s.norm.dtype() == DType::float64 ? double{std::numeric_limits<double>::max()}
                                                            : double{std::numeric_limits<float>::max()};
    const double limit = std::min(max_norm, largest);
    const Tensor factor = limit / maximum(s.norm, s.scale * limit);
    std::vector<Tensor> clipped = s.leaves;
    const std::vector<Tensor> before = grads.leaves();
    for (std::size_t i = 0; i < clipped.size(); ++i) clipped[i] = astype(clipped[i] * factor, before[i].dtype());
    return grads.with_leaves(clipped);
}

}  // namespace tenon::optim
