// minimum: The smaller of two elements; NaN if either is.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_tangent(pointwise("minimum", tape::Opcode::minimum, "The smaller of two elements; NaN if either is."),
                 [](const TangentContext& c) {
                     // Equal operands share the derivative evenly, as in max and min over an axis. A NaN is the result,
                     // so it has the derivative.
                     const Tensor first = bitwise_or(less(c.in[0], c.in[1]), isnan(c.in[0]));
                     const Tensor tie = equal(c.in[0], c.in[1]);
                     const Tensor zero = zeros_of(c.out.shape(), c.out.dtype());
                     const Tensor weight = select(first, zero + 1, select(tie, zero + 0.5, zero));
                     const Tensor a = c.d[0].defined() ? c.d[0] * weight : Tensor();
                     const Tensor b = c.d[1].defined() ? c.d[1] * (1 - weight) : Tensor();
                     return sum_of(a, b);
                 }),
    [] { return std::vector{binary_sample<minimum>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor minimum(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
