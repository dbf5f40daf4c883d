// expm1: exp(x) - 1 without cancellation near zero.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("expm1", tape::Opcode::expm1, "exp(x) - 1 without cancellation near zero."),
                              [](const TangentContext& c) { return c.d[0] * (c.out + 1); }),
                 [] { return std::vector{unary_sample<expm1>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor expm1(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
