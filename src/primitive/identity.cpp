// identity: the operand, as a node of its own (a transform marks its arguments so).
#include "primitive/view_of.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kIdentity{
    .name = "identity",
    .doc = "The operand, as a node of its own.",
    .role = Role::view,
    .infer = infer_alike,
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint = [](const AdjointContext& c) { return c.ct; },
    .view = view_whole,
    .reference = copy_view,
    .samples =
        [] {
            return std::vector{Sample{{{3}}, -1, 1, [](std::span<const Tensor> in) { return identity(in[0]); }}};
        },
};
const Register registered(kIdentity);

}  // namespace

Tensor identity(const Tensor& x) { return record(kIdentity, {&x, 1}); }

}  // namespace tenon
