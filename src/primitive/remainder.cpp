// remainder: a - b * floor(a / b): the sign is the divisor's.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_tangent(pointwise("remainder", tape::Opcode::remainder, "a - b * floor(a / b): the sign is the divisor's."),
                 [](const TangentContext& c) {
                     const Tensor b = c.d[1].defined() ? negative(c.d[1] * floor(c.in[0] / c.in[1])) : Tensor();
                     return sum_of(c.d[0], b);
                 }),
    [] { return std::vector{binary_sample<remainder>(0.5, 2)}; });
static const Register registered(kPrimitive);

Tensor remainder(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
