// identity: the operand, as a node of its own (a transform marks its arguments so).
#include "primitive/view_of.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kIdentity{
    .name = "identity",
    .doc = "The operand, as a node of its own.",
    .role = Role::view,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes&) {
            return Signature{in[0].shape(), in[0].dtype()};
        },
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint = [](const AdjointContext& c) { return c.ct; },
    .view =
        [](const Node&, const Layout& in, Layout& out) {
            out = in;
            return true;
        },
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
