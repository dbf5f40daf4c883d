// pow: a to the power b.
#include "primitive/pointwise.h"

namespace tenon {
namespace {

// b a^(b - 1), and 0 for b = 0, even if a^-1 is not finite.
Tensor slope_in_base(const Tensor& a, const Tensor& b) {
    const Tensor infinite = bitwise_invert(isfinite(1 / a));
    return b * pow(a, select(bitwise_and(equal(b, 0), infinite), Tensor(1.0), b - 1));
}

}  // namespace

static constexpr Primitive kPrimitive =
    with_samples(with_tangent(pointwise("pow", tape::Opcode::pow, "a to the power b."),
                              [](const TangentContext& c) {
                                  const Tensor& a = c.in[0];
                                  const Tensor& b = c.in[1];
                                  Tensor da, db;
                                  if (c.d[0].defined()) da = c.d[0] * slope_in_base(a, b);
                                  // The derivative in b is out * log(a) for a > 0, and taken as 0 elsewhere.
                                  if (c.d[1].defined()) {
                                      const Tensor positive = less(zeros_of(a.shape(), a.dtype()), a);
                                      db = c.d[1] * (c.out * log(select(positive, a, Tensor(1.0))));
                                  }
                                  return sum_of(da, db);
                              }),
                 [] { return std::vector{binary_sample<pow>(0.5, 2)}; });
static const Register registered(kPrimitive);

Tensor pow(const Tensor& a, const Tensor& b) { return apply(kPrimitive, a, b); }

}  // namespace tenon
