// ceil: The smallest integral value not below x.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("ceil", tape::Opcode::ceil, "The smallest integral value not below x.")),
                 [] { return std::vector{unary_sample<ceil>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor ceil(const Tensor& x) { return is_integer_tensor(x) ? x : apply(kPrimitive, x); }

}  // namespace tenon
