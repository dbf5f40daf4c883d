// reverse: the elements of some axes in opposite order (Array API: flip).
#include "primitive/axes.h"
#include "primitive/view_of.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kReverse{
    .name = "reverse",
    .doc = "The elements in opposite order along the given axes.",
    .role = Role::view,
    .infer = infer_alike,
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint = [](const AdjointContext& c) { return flip(c.ct, part(c.node.attributes, 0, 1)); },
    .view =
        [](const Node& n, const Layout& in, Layout& out) {
            out = in;
            for (std::int64_t a : n.attributes) {
                const int i = static_cast<int>(a);
                if (in.shape[i] > 0) out.offset += (in.shape[i] - 1) * in.strides[i];
                out.strides[i] = -in.strides[i];
            }
            return true;
        },
    .reference = copy_view,
    .samples =
        [] {
            return std::vector{Sample{{{2, 3, 4}}, -1, 1, [](std::span<const Tensor> in) {
                                          return flip(in[0], {0, 2});
                                      }}};
        },
};
const Register registered(kReverse);

}  // namespace

Tensor flip(const Tensor& x, const Axes& axes) {
    check_defined("flip", x);
    const Axes a = normalized(axes, x.shape(), "flip");
    return a.empty() ? x : record(kReverse, {&x, 1}, attributes_of({&a}));
}

}  // namespace tenon
