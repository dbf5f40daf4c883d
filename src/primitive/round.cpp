// round: The nearest integral value, halves to even.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    without_derivative(pointwise("round", tape::Opcode::round, "The nearest integral value, halves to even.")),
    [] { return std::vector{unary_sample<round>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor round(const Tensor& x) { return is_integer_tensor(x) ? x : apply(kPrimitive, x); }

}  // namespace tenon
