// exp: e to the power of each element.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("exp", tape::Opcode::exp, "e to the power of each element."),
                              [](const TangentContext& c) { return c.d[0] * c.out; }),
                 [] { return std::vector{unary_sample<exp>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor exp(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
