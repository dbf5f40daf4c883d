// bitwise_invert: Every bit flipped; logical not of booleans.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("bitwise_invert", tape::Opcode::bitwise_invert,
                                              "Every bit flipped; logical not of booleans.")),
                 [] { return std::vector{unary_sample<bitwise_invert>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor bitwise_invert(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
