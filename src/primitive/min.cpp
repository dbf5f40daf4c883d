// min: the smallest element over axes; NaN if any element is.
#include "primitive/reduction.h"

namespace tenon {
namespace {

constexpr Primitive make() {
    Primitive p = reduction<tape::Reduction::min>("min", "The smallest element over axes; NaN if any is.");
    p.derivative = Derivative::rule;
    p.tangent = extreme_tangent;
    p.samples = reduction_samples<reduce_min>;
    return p;
}

constexpr Primitive kMin = make();
const Register registered(kMin);

}  // namespace

Tensor reduce_min(const Tensor& x, const Axes& axes) { return reduce_over(kMin, x, axes); }

}  // namespace tenon
