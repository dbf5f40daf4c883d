// cumulative_sum: running sums along an axis, in sequence.
#include "primitive/cumulative.h"

namespace tenon {
namespace {

constexpr Primitive make() {
    Primitive p = cumulative<tape::Reduction::sum>("cumulative_sum", "Running sums along an axis.");
    p.derivative = Derivative::linear;
    p.linear = 1;
    p.adjoint = [](const AdjointContext& c) {
        const auto axis = c.node.attributes[0];
        return flip(cumulative_sum_along(flip(c.ct, {axis}), static_cast<int>(axis)), {axis});
    };
    p.samples = cumulative_samples<cumulative_sum_along>;
    return p;
}

constexpr Primitive kPrimitive = make();
const Register registered(kPrimitive);

}  // namespace

Tensor cumulative_sum_along(const Tensor& x, int axis) {
    check_defined("cumulative_sum", x);
    return record(kPrimitive, {x}, {normalized(axis, x.shape(), "cumulative_sum")});
}

}  // namespace tenon
