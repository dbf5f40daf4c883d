// select: elements of one tensor or another, by a condition (Array API: where).
#include "base/text.h"
#include "primitive/pointwise.h"
#include "tenon/error.h"

namespace tenon {
namespace {

constexpr Primitive kSelect{
    .name = "select",
    .doc = "Elements of a where the condition holds, else of b.",
    .role = Role::pointwise,
    .opcode = tape::Opcode::select,
    .infer =
        [](const Primitive& p, std::span<const Tensor> in, const Attributes& a) {
            if (in[0].dtype() != DType::boolean)
                throw TypeError(text("select: the condition is ", name(in[0].dtype()), ", not bool"));
            return infer_pointwise(p, in, a);
        },
    .derivative = Derivative::linear,
    .linear = 0b110,
    .adjoint =
        [](const AdjointContext& c) {
            const Tensor zero = zeros_of(c.ct.shape(), c.ct.dtype());
            return c.operand == 1 ? select(c.in[0], c.ct, zero) : select(c.in[0], zero, c.ct);
        },
    .reference = reference_pointwise,
    .run = run_pointwise,
    .samples =
        [] {
            return std::vector{Sample{{{3, 5}, {5}}, -1, 1, [](std::span<const Tensor> in) {
                                          return select(less(stop_gradient(in[0]), 0), in[0], in[1]);
                                      }}};
        },
};
const Register registered(kSelect);

}  // namespace

Tensor select(const Tensor& condition, const Tensor& a, const Tensor& b) {
    Tensor in[3] = {condition, a, b};
    check_operands("select", condition, a);
    check_operands("select", condition, b);
    harmonize("select", in[1], in[2]);
    const Shape s = broadcast_of("select", condition, in[1]);
    for (Tensor& t : in) t = broadcast_to(t, s);
    return record(kSelect, in);
}

}  // namespace tenon
