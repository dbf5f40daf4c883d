// erf: The error function.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_tangent(
        pointwise("erf", tape::Opcode::erf, "The error function."),
        [](const TangentContext& c) { return c.d[0] * (1.1283791670955126 * exp(negative(c.in[0] * c.in[0]))); }),
    [] { return std::vector{unary_sample<erf>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor erf(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
