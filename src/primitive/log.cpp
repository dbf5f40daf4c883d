// log: Natural logarithm.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("log", tape::Opcode::log, "Natural logarithm."),
                              [](const TangentContext& c) { return c.d[0] / c.in[0]; }),
                 [] { return std::vector{unary_sample<log>(0.1, 3)}; });
static const Register registered(kPrimitive);

Tensor log(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
