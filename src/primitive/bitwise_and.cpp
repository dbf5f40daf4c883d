// bitwise_and: Bitwise (of booleans: logical) and.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    without_derivative(pointwise("bitwise_and", tape::Opcode::bitwise_and, "Bitwise (of booleans: logical) and.")),
    [] { return std::vector{binary_sample<bitwise_and>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor bitwise_and(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
