// floor: The largest integral value not above x.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("floor", tape::Opcode::floor, "The largest integral value not above x.")),
                 [] { return std::vector{unary_sample<floor>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor floor(const Tensor& x) { return is_integer_tensor(x) ? x : apply(kPrimitive, x); }

}  // namespace tenon
