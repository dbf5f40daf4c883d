// logistic: 1 / (1 + exp(-x)), the sigmoid.
#include "primitive/pointwise.h"

namespace tenon {

// 1 - logistic(x) would cancel for large x.
static Tensor slope(const TangentContext& c) { return c.d[0] * (c.out * logistic(negative(c.in[0]))); }

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("logistic", tape::Opcode::logistic, "1 / (1 + exp(-x)), the sigmoid."), slope),
                 [] { return std::vector{unary_sample<logistic>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor logistic(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
