// cumulative_max: the largest element so far along an axis.
#include "primitive/cumulative_extreme.h"

namespace tenon {
namespace {

constexpr Primitive make() {
    Primitive p = cumulative<tape::Reduction::max>("cumulative_max", "The largest element so far along an axis.");
    p.derivative = Derivative::rule;
    p.tangent = cumulative_extreme_tangent;
    p.samples = cumulative_samples<cumulative_max>;
    return p;
}

constexpr Primitive kPrimitive = make();
const Register registered(kPrimitive);

}  // namespace

Tensor cumulative_max(const Tensor& x, int axis) {
    check_defined("cumulative_max", x);
    return record(kPrimitive, {x}, {normalized(axis, x.shape(), "cumulative_max")});
}

}  // namespace tenon
