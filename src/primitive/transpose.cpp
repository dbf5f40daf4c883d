// transpose: axes in another order (Array API: permute_dims).
#include "base/text.h"
#include "primitive/operands.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kTranspose{
    .name = "transpose",
    .doc = "Axis i of the result is axis axes[i] of the operand.",
    .role = Role::view,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            Shape s;
            for (std::int64_t axis : a) s.push_back(in[0].shape()[static_cast<int>(axis)]);
            return Signature{s, in[0].dtype()};
        },
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint =
        [](const AdjointContext& c) {
            const Axes perm = part(c.node.attributes, 0, 1);
            Axes inverse = perm;
            for (int i = 0; i < perm.rank(); ++i) inverse[static_cast<int>(perm[i])] = i;
            return transpose(c.ct, inverse);
        },
    .view =
        [](const Node& n, const Layout& in, Layout& out) {
            out = in.transpose(part(n.attributes, 0, 1));
            return true;
        },
    .reference = copy_view,
    .samples =
        [] {
            return std::vector{Sample{{{2, 3, 4}}, -1, 1, [](std::span<const Tensor> in) {
                                          return transpose(in[0], {2, 0, 1});
                                      }}};
        },
};
const Register registered(kTranspose);

}  // namespace

Tensor transpose(const Tensor& x, const Axes& axes) {
    check_defined("transpose", x);
    Axes a = axes;
    std::uint32_t seen = 0;
    bool identity = true;
    for (int i = 0; i < a.rank(); ++i) {
        if (a[i] < 0) a[i] += x.rank();
        if (a[i] >= 0 && a[i] < x.rank()) seen |= 1u << a[i];
        identity = identity && a[i] == i;
    }
    if (a.rank() != x.rank() || seen != (1u << x.rank()) - 1)
        throw ShapeError(
            text("transpose: ", to_string(axes), " is not a permutation of the axes of ", to_string(x.shape())));
    return identity ? x : record(kTranspose, {&x, 1}, attributes_of({&a}));
}

}  // namespace tenon
