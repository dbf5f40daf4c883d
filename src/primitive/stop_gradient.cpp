// stop_gradient: the operand, taken as a constant by every derivative.
#include "primitive/view_of.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kStopGradient{
    .name = "stop_gradient",
    .doc = "The operand, taken as a constant by every derivative.",
    .role = Role::view,
    .infer = infer_alike,
    .derivative = Derivative::none,
    .view = view_whole,
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
