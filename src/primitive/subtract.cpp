// subtract: The difference of two tensors.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_adjoint(pointwise("subtract", tape::Opcode::subtract, "The difference of two tensors."), Derivative::linear, 3,
                 [](const AdjointContext& c) { return c.operand == 0 ? c.ct : negative(c.ct); }),
    [] { return std::vector{binary_sample<subtract>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor subtract(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }
Tensor detail::subtract(Tensor&& a, Tensor&& b) { return apply(kPrimitive, std::move(a), std::move(b)); }

}  // namespace tenon
