// isfinite: True where x is neither infinite nor NaN.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    without_derivative(pointwise("isfinite", tape::Opcode::isfinite, "True where x is neither infinite nor NaN.")),
    [] { return std::vector{unary_sample<isfinite>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor isfinite(const Tensor& x) {
    return is_integer_tensor(x) ? bitwise_invert(zeros_of(x.shape(), DType::boolean)) : apply(kPrimitive, x);
}

}  // namespace tenon
