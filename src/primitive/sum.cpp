// sum: the sum over axes, in the fixed order of the tape's reductions.
#include "primitive/reduction.h"

namespace tenon {
namespace {

constexpr Primitive make() {
    Primitive p = reduction<tape::Reduction::sum>("sum", "The sum over axes.");
    p.derivative = Derivative::linear;
    p.linear = 1;
    p.adjoint = [](const AdjointContext& c) { return expand_reduced(c.ct, c.node.attributes, c.in[0].shape()); };
    p.samples = reduction_samples<reduce_sum>;
    return p;
}

constexpr Primitive kSum = make();
const Register registered(kSum);

}  // namespace

Tensor reduce_sum(const Tensor& x, const Axes& axes) { return reduce_over(kSum, x, axes); }

}  // namespace tenon
