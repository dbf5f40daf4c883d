// add: The sum of two tensors.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_adjoint(pointwise("add", tape::Opcode::add, "The sum of two tensors."), Derivative::linear, 3,
                              [](const AdjointContext& c) { return c.ct; }),
                 [] { return std::vector{binary_sample<add>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor add(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }
Tensor detail::add(Tensor&& a, Tensor&& b) { return apply(kPrimitive, std::move(a), std::move(b)); }

}  // namespace tenon
