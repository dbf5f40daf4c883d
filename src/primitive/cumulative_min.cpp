// cumulative_min: the smallest element so far along an axis.
#include "primitive/cumulative_extreme.h"

namespace tenon {
namespace {

constexpr Primitive make() {
    Primitive p = cumulative<tape::Reduction::min>("cumulative_min", "The smallest element so far along an axis.");
    p.derivative = Derivative::rule;
    p.tangent = cumulative_extreme_tangent;
    p.samples = cumulative_samples<cumulative_min>;
    return p;
}

constexpr Primitive kPrimitive = make();
const Register registered(kPrimitive);

}  // namespace

Tensor cumulative_min(const Tensor& x, int axis) {
    check_defined("cumulative_min", x);
    return record(kPrimitive, {x}, {normalized(axis, x.shape(), "cumulative_min")});
}

}  // namespace tenon
