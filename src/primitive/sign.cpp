// sign: -1, 0 or 1 by sign; NaN stays NaN.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("sign", tape::Opcode::sign, "-1, 0 or 1 by sign; NaN stays NaN.")),
                 [] { return std::vector{unary_sample<sign>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor sign(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
