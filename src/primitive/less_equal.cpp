// less_equal: True where a <= b.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("less_equal", tape::Opcode::less_equal, "True where a <= b.")),
                 [] { return std::vector{binary_sample<less_equal>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor less_equal(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
