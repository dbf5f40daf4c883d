// rsqrt: 1 / sqrt(x).
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("rsqrt", tape::Opcode::rsqrt, "1 / sqrt(x)."),
                              [](const TangentContext& c) { return c.d[0] * (-0.5 * c.out * c.out * c.out); }),
                 [] { return std::vector{unary_sample<rsqrt>(0.1, 3)}; });
static const Register registered(kPrimitive);

Tensor rsqrt(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
