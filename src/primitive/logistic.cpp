// logistic: 1 / (1 + exp(-x)), the sigmoid.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("logistic", tape::Opcode::logistic, "1 / (1 + exp(-x)), the sigmoid."),
                              [](const TangentContext& c) { return c.d[0] * (c.out * (1 - c.out)); }),
                 [] { return std::vector{unary_sample<logistic>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor logistic(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
