// cos: Cosine of radians.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("cos", tape::Opcode::cos, "Cosine of radians."),
                              [](const TangentContext& c) { return negative(c.d[0] * sin(c.in[0])); }),
                 [] { return std::vector{unary_sample<cos>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor cos(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
