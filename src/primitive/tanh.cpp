// tanh: Hyperbolic tangent.
#include "primitive/pointwise.h"

namespace tenon {

// 1 - tanh(x)^2 would cancel for large |x|. It is 4 s (1 - s) for s = logistic(-2 |x|), which is at most a half. The
// magnitude is a choice between x and -x: unlike that of abs, its derivative at 0 is not 0, so that third derivatives
// are right there, too.
static Tensor slope(const TangentContext& c) {
    const Tensor &x = c.in[0], s = logistic(2 * select(less(x, 0), x, negative(x)));
    return c.d[0] * (4 * s * (1 - s));
}

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("tanh", tape::Opcode::tanh, "Hyperbolic tangent."), slope),
                 [] { return std::vector{unary_sample<tanh>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor tanh(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
