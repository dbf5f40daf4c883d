// log1p: log(1 + x) without cancellation near zero.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("log1p", tape::Opcode::log1p, "log(1 + x) without cancellation near zero."),
                              [](const TangentContext& c) { return c.d[0] / (c.in[0] + 1); }),
                 [] { return std::vector{unary_sample<log1p>(-0.5, 3)}; });
static const Register registered(kPrimitive);

Tensor log1p(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
