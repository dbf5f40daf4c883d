// abs: Absolute values; integers wrap at their lowest value.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_tangent(pointwise("abs", tape::Opcode::abs, "Absolute values; integers wrap at their lowest value."),
                 [](const TangentContext& c) { return c.d[0] * sign(c.in[0]); }),
    [] { return std::vector{unary_sample<abs>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor abs(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
