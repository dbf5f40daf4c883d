// bitwise_left_shift: a times 2 to the power b, modulo 2^bits; 0 from the width on.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("bitwise_left_shift", tape::Opcode::bitwise_left_shift,
                                              "a times 2 to the power b, modulo 2^bits; 0 from the width on.")),
                 [] { return std::vector{binary_sample<bitwise_left_shift>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor bitwise_left_shift(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
