// max: the largest element over axes; NaN if any element is.
#include "primitive/reduction.h"

namespace tenon {
namespace {

constexpr Primitive make() {
    Primitive p = reduction<tape::Reduction::max>("max", "The largest element over axes; NaN if any is.");
    p.derivative = Derivative::rule;
    p.tangent = extreme_tangent;
    p.samples = reduction_samples<reduce_max>;
    return p;
}

constexpr Primitive kMax = make();
const Register registered(kMax);

}  // namespace

Tensor reduce_max(const Tensor& x, const Axes& axes) { return reduce_over(kMax, x, axes); }

}  // namespace tenon
