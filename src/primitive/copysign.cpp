// copysign: The magnitude of a with the sign of b.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("copysign", tape::Opcode::copysign, "The magnitude of a with the sign of b."),
                              [](const TangentContext& c) {
                                  if (!c.d[0].defined()) return Tensor();
                                  const Tensor one = zeros_of(c.out.shape(), c.out.dtype()) + 1;
                                  return c.d[0] * (copysign(one, c.in[0]) * copysign(one, c.in[1]));
                              }),
                 [] { return std::vector{binary_sample<copysign>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor copysign(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
