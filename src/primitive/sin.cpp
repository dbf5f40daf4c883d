// sin: Sine of radians.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("sin", tape::Opcode::sin, "Sine of radians."),
                              [](const TangentContext& c) { return c.d[0] * cos(c.in[0]); }),
                 [] { return std::vector{unary_sample<sin>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor sin(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
