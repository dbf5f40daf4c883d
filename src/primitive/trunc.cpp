// trunc: The integral part, towards zero.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("trunc", tape::Opcode::trunc, "The integral part, towards zero.")),
                 [] { return std::vector{unary_sample<trunc>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor trunc(const Tensor& x) { return is_integer_tensor(x) ? x : apply(kPrimitive, x); }

}  // namespace tenon
