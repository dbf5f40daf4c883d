// maximum: The larger of two elements; NaN if either is.
#include "primitive/extreme.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_tangent(pointwise("maximum", tape::Opcode::maximum, "The larger of two elements; NaN if either is."),
                 [](const TangentContext& c) { return tangent_of_extreme(c, less(c.in[1], c.in[0])); }),
    [] { return std::vector{binary_sample<maximum>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor maximum(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
