// concatenate: tensors one after another along an axis (Array API: concat).
#include "base/text.h"
#include "primitive/axes.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

// The position along the axis at which operand i begins.
std::int64_t start_of(std::span<const Tensor> in, int operand, int axis) {
    std::int64_t at = 0;
    for (int i = 0; i < operand; ++i) at += in[static_cast<std::size_t>(i)].shape()[axis];
    return at;
}

void reference(const Node& n, std::span<const View> in, const View& out) {
    const int axis = static_cast<int>(n.attributes[0]);
    Extents start(out.shape().rank(), 0);
    const Extents step(out.shape().rank(), 1);
    for (const View& v : in) {
        copy(v, with_layout(out, out.layout.slice(start, v.shape(), step)));
        start[axis] += v.shape()[axis];
    }
}

constexpr Primitive kConcatenate{
    .name = "concatenate",
    .doc = "Tensors one after another along an axis.",
    .role = Role::indexing,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            const int axis = static_cast<int>(a[0]);
            Shape s = in[0].shape();
            for (std::size_t i = 1; i < in.size(); ++i) {
                Shape other = in[i].shape();
                if (other.rank() == s.rank()) other[axis] = s[axis];
                if (other != s || in[i].dtype() != in[0].dtype())
                    throw ShapeError(text("concat: ", to_string(in[0].shape()), " and ", to_string(in[i].shape()),
                                          " differ off axis ", axis));
                const Shape& now = in[i].shape();
                if (__builtin_add_overflow(s[axis], now[axis], &s[axis]))
                    throw ShapeError(text("concat: ", to_string(in[0].shape()), " and ", to_string(now),
                                          ": the joined axis does not fit 63 bits"));
            }
            return Signature{s, in[0].dtype()};
        },
    .derivative = Derivative::linear,
    .linear = ~0u,
    .adjoint =
        [](const AdjointContext& c) {
            const int axis = static_cast<int>(c.node.attributes[0]);
            const Tensor& x = c.in[static_cast<std::size_t>(c.operand)];
            Extents start(x.rank(), 0), stop = c.ct.shape();
            start[axis] = start_of(c.in, c.operand, axis);
            stop[axis] = start[axis] + x.shape()[axis];
            return slice(c.ct, start, stop, Extents(x.rank(), 1));
        },
    .reference = reference,
    .refuses_nothing = true,
    .samples =
        [] {
            return std::vector{
                Sample{{{2, 3}, {2, 1}, {2, 2}}, -1, 1, [](std::span<const Tensor> in) { return concat(in, 1); }}};
        },
};
const Register registered(kConcatenate);

}  // namespace

Tensor concat(std::span<const Tensor> tensors, int axis) {
    if (tensors.empty()) throw ValueError("concat: no tensors");
    for (const Tensor& t : tensors) check_defined("concat", t);
    const int along = normalized(axis, tensors[0].shape(), "concat");
    Tensor common = tensors[0];
    for (const Tensor& t : tensors) common = astype(common, promoted("concat", common, t));
    std::vector<Tensor> in;
    for (const Tensor& t : tensors) in.push_back(astype(t, common.dtype()));
    if (in.size() == 1) return in[0];
    return record(kConcatenate, in, {along});
}

}  // namespace tenon
