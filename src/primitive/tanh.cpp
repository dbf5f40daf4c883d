// tanh: Hyperbolic tangent.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("tanh", tape::Opcode::tanh, "Hyperbolic tangent."),
                              [](const TangentContext& c) { return c.d[0] * (1 - c.out * c.out); }),
                 [] { return std::vector{unary_sample<tanh>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor tanh(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
