// bitwise_or: Bitwise (of booleans: logical) or.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    without_derivative(pointwise("bitwise_or", tape::Opcode::bitwise_or, "Bitwise (of booleans: logical) or.")),
    [] { return std::vector{binary_sample<bitwise_or>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor bitwise_or(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
