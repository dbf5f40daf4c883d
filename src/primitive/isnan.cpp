// isnan: True where x is NaN.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("isnan", tape::Opcode::isnan, "True where x is NaN.")),
                 [] { return std::vector{unary_sample<isnan>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor isnan(const Tensor& x) {
    return is_integer_tensor(x) ? zeros_of(x.shape(), DType::boolean) : apply(kPrimitive, x);
}

}  // namespace tenon
