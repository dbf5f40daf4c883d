// not_equal: True where the elements differ.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("not_equal", tape::Opcode::not_equal, "True where the elements differ.")),
                 [] { return std::vector{binary_sample<not_equal>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor not_equal(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
