// slice: every step-th element of a range of each axis; and Tensor's indexing, which is made of it.
#include "base/text.h"
#include "primitive/operands.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

// How many of 0, step, 2 step, ... are below `span`, for step >= 1.
std::int64_t steps_in(std::int64_t span, std::int64_t step) { return span > 0 ? (span - 1) / step + 1 : 0; }

constexpr Primitive kSlice{
    .name = "slice",
    .doc = "Elements start, start + step, ... of each axis, before stop.",
    .role = Role::view,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            const Extents start = part(a, 0, 3), stop = part(a, 1, 3), step = part(a, 2, 3);
            Shape s;
            for (int i = 0; i < start.rank(); ++i) s.push_back(steps_in(stop[i] - start[i], step[i]));
            return Signature{s, in[0].dtype()};
        },
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint =
        [](const AdjointContext& c) {
            const Extents start = part(c.node.attributes, 0, 3), step = part(c.node.attributes, 2, 3);
            Extents high = start, interior = step;
            for (int i = 0; i < start.rank(); ++i) {
                const std::int64_t n = c.ct.shape()[i];
                interior[i] = step[i] - 1;
                high[i] = c.in[0].shape()[i] - start[i] - (n ? (n - 1) * step[i] + 1 : 0);
            }
            return pad(c.ct, start, high, interior);
        },
    .view =
        [](const Node& n, const Layout& in, Layout& out) {
            out = in.slice(part(n.attributes, 0, 3), n.shape, part(n.attributes, 2, 3));
            return true;
        },
    .reference = copy_view,
    .samples =
        [] {
            return std::vector{Sample{{{7, 5}},
                                      -1,
                                      1,
                                      [](std::span<const Tensor> in) {
                                          return slice(in[0], {1, 0}, {6, 5}, {2, 3});
                                      }},
                               Sample{{{7, 5}}, -1, 1, [](std::span<const Tensor> in) {
                                          return in[0].at({-2, Slice{3, 0, -2}});
                                      }}};
        },
};
const Register registered(kSlice);

}  // namespace

Tensor slice(const Tensor& x, const Extents& start, const Extents& stop, const Extents& step) {
    check_defined("slice", x);
    const Shape& s = x.shape();
    bool fits = start.rank() == s.rank() && stop.rank() == s.rank() && step.rank() == s.rank(), whole = true;
    for (int i = 0; fits && i < s.rank(); ++i) {
        fits = 0 <= start[i] && start[i] <= stop[i] && stop[i] <= s[i] && step[i] >= 1;
        whole = whole && start[i] == 0 && stop[i] == s[i] && step[i] == 1;
    }
    if (!fits)
        throw ShapeError(text("slice: ", to_string(start), " to ", to_string(stop), " by ", to_string(step),
                              " does not lie in ", to_string(s)));
    return whole ? x : record(kSlice, {&x, 1}, attributes_of({&start, &stop, &step}));
}

Tensor Tensor::at(std::initializer_list<Index> index) const {
    check_defined("index", *this);
    const Shape& s = shape();
    if (static_cast<int>(index.size()) > s.rank())
        throw ShapeError(
            text("index: ", index.size(), " indices for shape ", to_string(s), "; at most one for each axis"));
    Extents start(s.rank(), 0), stop = s, step(s.rank(), 1);
    Axes reversed;
    Shape kept;
    int axis = 0;
    for (const Index& i : index) {
        const std::int64_t n = s[axis];
        if (i.is_integer()) {
            const std::int64_t at = i.integer() < 0 ? i.integer() + n : i.integer();
            if (at < 0 || at >= n)
                throw ShapeError(
                    text("index: ", i.integer(), " is out of bounds for axis ", axis, " of ", to_string(s)));
            start[axis] = at, stop[axis] = at + 1;
        } else {
            const Slice& r = i.slice();
            if (r.step == 0)
                throw ShapeError(text("index: step 0 for axis ", axis, " of ", to_string(s), "; a step is not 0"));
            const std::int64_t low = r.step > 0 ? 0 : -1, high = r.step > 0 ? n : n - 1;
            const auto clamp = [&](std::int64_t v) { return std::min(std::max(v < 0 ? v + n : v, low), high); };
            const std::int64_t from = r.start ? clamp(*r.start) : (r.step > 0 ? 0 : n - 1);
            const std::int64_t to = r.stop ? clamp(*r.stop) : (r.step > 0 ? n : -1);
            const std::int64_t stride = r.step > 0 ? r.step : -std::max(r.step, -INT64_MAX);
            const std::int64_t length = steps_in(r.step > 0 ? to - from : from - to, stride);
            // A negative step: take the same elements in ascending order, then reverse them.
            start[axis] = length == 0 ? 0 : r.step > 0 ? from : from - (length - 1) * stride;
            stop[axis] = length == 0 ? 0 : start[axis] + (length - 1) * stride + 1;
            step[axis] = stride;
            if (r.step < 0) reversed.push_back(axis);
            kept.push_back(length);
        }
        ++axis;
    }
    for (; axis < s.rank(); ++axis) kept.push_back(s[axis]);
    return reshape(flip(slice(*this, start, stop, step), reversed), kept);
}

}  // namespace tenon
