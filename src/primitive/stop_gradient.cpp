// stop_gradient: the operand, taken as a constant by every derivative.
#include "primitive/view_of.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kStopGradient{
    .name = "stop_gradient",
    .doc = "The operand, taken as a constant by every derivative.",
    .role = Role::view,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes&) {
            return Signature{in[0].shape(), in[0].dtype()};
        },
    .derivative = Derivative::none,
    .view =
        [](const Node&, const Layout& in, Layout& out) {
            out = in;
            return true;
        },
    .reference = copy_view,
    .samples =
        [] {
            return std::vector{Sample{{{3}}, -1, 1, [](std::span<const Tensor> in) { return stop_gradient(in[0]); }}};
        },
};
const Register registered(kStopGradient);

}  // namespace

Tensor stop_gradient(const Tensor& x) { return record(kStopGradient, {&x, 1}); }

}  // namespace tenon
