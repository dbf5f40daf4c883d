// equal: True where the elements are equal.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("equal", tape::Opcode::equal, "True where the elements are equal.")),
                 [] { return std::vector{binary_sample<equal>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor equal(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
