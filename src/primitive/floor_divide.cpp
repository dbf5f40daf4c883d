// floor_divide: floor(a / b); an integer divided by zero gives 0.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("floor_divide", tape::Opcode::floor_divide,
                                              "floor(a / b); an integer divided by zero gives 0.")),
                 [] { return std::vector{binary_sample<floor_divide>(0.5, 2)}; });
static const Register registered(kPrimitive);

Tensor floor_divide(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
