// minimum: The smaller of two elements; NaN if either is.
#include "primitive/extreme.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_tangent(pointwise("minimum", tape::Opcode::minimum, "The smaller of two elements; NaN if either is."),
                 [](const TangentContext& c) { return tangent_of_extreme(c, less(c.in[0], c.in[1])); }),
    [] { return std::vector{binary_sample<minimum>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor minimum(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
