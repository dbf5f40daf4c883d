// multiply: The elementwise product of two tensors.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_adjoint(pointwise("multiply", tape::Opcode::multiply, "The elementwise product of two tensors."),
                 Derivative::multilinear, 3, [](const AdjointContext& c) { return c.ct * c.in[1 - c.operand]; }),
    [] { return std::vector{binary_sample<multiply>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor multiply(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }
Tensor detail::multiply(Tensor&& a, Tensor&& b) { return apply(kPrimitive, std::move(a), std::move(b)); }

}  // namespace tenon
