// divide: The elementwise quotient of two floating tensors.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_adjoint(
        with_tangent(pointwise("divide", tape::Opcode::divide, "The elementwise quotient of two floating tensors."),
                     [](const TangentContext& c) {
                         const Tensor a = c.d[0].defined() ? c.d[0] / c.in[1] : Tensor();
                         const Tensor b = c.d[1].defined() ? negative(c.d[1] * (c.out / c.in[1])) : Tensor();
                         return sum_of(a, b);
                     }),
        Derivative::rule, 1, [](const AdjointContext& c) { return c.ct / c.in[1]; }),
    [] { return std::vector{binary_sample<divide>(0.5, 2)}; });
static const Register registered(kPrimitive);

Tensor divide(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }
Tensor detail::divide(Tensor&& a, Tensor&& b) { return apply(kPrimitive, std::move(a), std::move(b)); }

}  // namespace tenon
