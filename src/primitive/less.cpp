// less: True where a < b.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(without_derivative(pointwise("less", tape::Opcode::less, "True where a < b.")),
                 [] { return std::vector{binary_sample<less>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor less(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
