// bitwise_right_shift: a shifted right by b, keeping the sign.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("bitwise_right_shift", tape::Opcode::bitwise_right_shift,
                                              "a shifted right by b, keeping the sign.")),
                 [] { return std::vector{binary_sample<bitwise_right_shift>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor bitwise_right_shift(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
