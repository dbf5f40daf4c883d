// negative: The negated elements.
#include "primitive/pointwise.h"

namespace tenon {

static constexpr Primitive kPrimitive =
    with_samples(with_adjoint(pointwise("negative", tape::Opcode::negative, "The negated elements."),
                              Derivative::linear, 1, [](const AdjointContext& c) { return negative(c.ct); }),
                 [] { return std::vector{unary_sample<negative>(-2, 2)}; });
static const Register registered(kPrimitive);

Tensor negative(const Tensor& x) { return apply(kPrimitive, x); }

}  // namespace tenon
