// broadcast: elements repeated along new and stretched axes, by NumPy's rule and without memory.
#include "base/text.h"
#include "primitive/operands.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kBroadcast{
    .name = "broadcast",
    .doc = "The elements repeated to a larger shape.",
    .role = Role::view,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            return Signature{part(a, 0, 1), in[0].dtype()};
        },
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint =
        [](const AdjointContext& c) {
            const Shape &from = c.in[0].shape(), &to = c.ct.shape();
            const int added = to.rank() - from.rank();
            Axes repeated;
            for (int i = 0; i < to.rank(); ++i)
                if (i < added || from[i - added] != to[i]) repeated.push_back(i);
            return reshape(reduce_sum(c.ct, repeated), from);
        },
    .view =
        [](const Node& n, const Layout& in, Layout& out) {
            out = in.broadcast(n.shape);
            return true;
        },
    .reference = copy_view,
    .samples =
        [] {
            return std::vector{Sample{{{3, 1}}, -1, 1, [](std::span<const Tensor> in) {
                                          return broadcast_to(in[0], {2, 3, 4});
                                      }}};
        },
};
const Register registered(kBroadcast);

}  // namespace

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
    check_defined("broadcast_to", x);
    if (x.shape() == shape) return x;
    if (broadcast_shapes(x.shape(), shape, "broadcast_to") != shape)
        throw ShapeError(text("broadcast_to: ", to_string(x.shape()), " does not broadcast to ", to_string(shape)));
    checked_count("broadcast", shape);
    return broadcast_known(x, shape, __builtin_return_address(0));
}

Tensor broadcast_known(Tensor x, const Shape& shape, const void* site) {
    return record_of(kBroadcast, std::move(x), shape, span_of(shape), site);
}

}  // namespace tenon
