#include "base/text.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/optim.h"

namespace tenon::optim {

Tensor global_norm(const Tree& tree) {
    Tensor squares = 0.0f;
    for (const Tensor& leaf : tree.leaves()) {
        const Tensor x = astype(leaf, leaf.dtype() == DType::float64 ? DType::float64 : DType::float32);
        squares = squares + sum(x * x);
    }
    return sqrt(squares);
}

Tree clip_by_global_norm(const Tree& grads, double max_norm) {
    if (!(max_norm > 0)) throw ValueError(text("clip_by_global_norm: a norm of ", max_norm, " is not positive"));
    const Tensor norm = global_norm(grads);
    const Tensor factor = max_norm / maximum(norm, max_norm);
    return grads.map([&](const Tensor& g) { return astype(g * factor, g.dtype()); });
}

}  // namespace tenon::optim
