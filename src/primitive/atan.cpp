// atan: Inverse tangent, in radians.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("atan", tape::Opcode::atan, "Inverse tangent, in radians."),
                              [](const TangentContext& c) { return c.d[0] / (c.in[0] * c.in[0] + 1); }),
                 [] { return std::vector{unary_sample<atan>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor atan(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
