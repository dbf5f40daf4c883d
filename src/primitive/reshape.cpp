// reshape: the same elements, row-major, under another shape.
#include "base/text.h"
#include "primitive/operands.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kReshape{
    .name = "reshape",
    .doc = "The same elements, row-major, under another shape.",
    .role = Role::view,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            return Signature{part(a, 0, 1), in[0].dtype()};
        },
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint = [](const AdjointContext& c) { return reshape(c.ct, c.in[0].shape()); },
    .view = [](const Node& n, const Layout& in, Layout& out) { return in.reshape(n.shape, out); },
    .reference = [](const Node&, std::span<const View> in,
                    const View& out) { copy(in[0], with_layout(out, Layout::contiguous(in[0].shape()))); },
    .samples =
        [] {
            return std::vector{Sample{{{4, 6}},
                                      -1,
                                      1,
                                      [](std::span<const Tensor> in) {
                                          return reshape(in[0], {3, 8});
                                      }},
                               Sample{{{4, 6}}, -1, 1, [](std::span<const Tensor> in) {
                                          return reshape(transpose(in[0], {1, 0}), {2, -1});
                                      }}};
        },
};
const Register registered(kReshape);

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) {
    check_defined("reshape", x);
    Shape s = shape;
    int unknown = -1;
    for (int i = 0; i < s.rank(); ++i) {
        if (s[i] == -1 && unknown < 0)
            unknown = i, s[i] = 1;
        else if (s[i] < 0)
            throw ShapeError(text("reshape: ", to_string(shape), " is not a shape (one axis may be -1)"));
    }
    if (unknown >= 0) {
        const std::int64_t known = checked_count("reshape", s);
        s[unknown] = known ? x.size() / known : 0;
    }
    if (checked_count("reshape", s) != x.size())
        throw ShapeError(text("reshape: ", to_string(x.shape()), " has ", x.size(), " elements and does not fit ",
                              to_string(shape)));
    return s == x.shape() ? x : reshape_known(x, s, __builtin_return_address(0));
}

Tensor reshape_known(Tensor x, const Shape& shape, const void* site) {
    return record_of(kReshape, std::move(x), shape, span_of(shape), site);
}

}  // namespace tenon
