// nextafter: The next representable number after a towards b.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive = with_samples(
    with_tangent(pointwise("nextafter", tape::Opcode::nextafter, "The next representable number after a towards b."),
                 [](const TangentContext& c) { return c.d[0]; }),
    [] { return std::vector{binary_sample<nextafter>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor nextafter(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
