// bitwise_xor: Bitwise (of booleans: logical) exclusive or.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("bitwise_xor", tape::Opcode::bitwise_xor,
                                              "Bitwise (of booleans: logical) exclusive or.")),
                 [] { return std::vector{binary_sample<bitwise_xor>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor bitwise_xor(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
