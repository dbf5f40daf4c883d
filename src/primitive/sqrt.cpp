// sqrt: Square root, correctly rounded.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("sqrt", tape::Opcode::sqrt, "Square root, correctly rounded."),
                              [](const TangentContext& c) { return c.d[0] * (0.5 / c.out); }),
                 [] { return std::vector{unary_sample<sqrt>(0.1, 3)}; });
static const Register registered(kPrimitive);

Tensor sqrt(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
