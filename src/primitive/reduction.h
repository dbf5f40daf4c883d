// What reductions over axes share: attributes are the axes, ascending; the result has the others.
#pragma once

#include "base/text.h"
#include "primitive/axes.h"
#include "primitive/primitive.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {

inline Signature infer_reduction(const Primitive& p, std::span<const Tensor> in, const Attributes& a) {
    if (in[0].dtype() == DType::boolean)
        throw TypeError(text(p.name, " of ", described(in[0]), ": not defined for this dtype"));
    Shape s = in[0].shape();
    for (std::size_t i = a.size(); i-- > 0;) s.erase(static_cast<int>(a[i]));
    return {s, in[0].dtype()};
}

inline Cost reduction_cost(const Node& n) {
    const Node& in = *n.inputs[0];
    const auto elements = static_cast<double>(count(in.shape));
    return {elements, (elements + static_cast<double>(count(n.shape))) * static_cast<double>(size_of(in.dtype))};
}

template <tape::Reduction op>
constexpr Primitive reduction(std::string_view name, std::string_view doc) {
    return {.name = name,
            .doc = doc,
            .role = Role::reduction,
            .reduction = op,
            .infer = infer_reduction,
            .cost = reduction_cost,
            .reference = [](const Node& n, std::span<const View> in,
                            const View& out) { tape::reduce_reference(op, in[0], part(n.attributes, 0, 1), out); },
            .run = [](const Node& n, std::span<const View> in,
                      const View& out) { tape::reduce(op, in[0], part(n.attributes, 0, 1), out); }};
}

/// `reduced`, a result over `axes`, broadcast back over the operand's shape.
Tensor expand_reduced(const Tensor& reduced, const Attributes& axes, const Shape& shape);

/// Records the reduction; no axes is the identity.
Tensor reduce_over(const Primitive& p, const Tensor& x, const Axes& axes);

template <Tensor (*f)(const Tensor&, const Axes&)>
std::vector<Sample> reduction_samples() {
    return {Sample{{{3, 4, 5}}, -1, 1, [](std::span<const Tensor> in) { return f(in[0], {1}); }},
            Sample{{{3, 4, 5}},
                   0.5,
                   1.5,
                   [](std::span<const Tensor> in) {
                       return f(in[0], {0, 2});
                   }},
            Sample{{{130}}, 0.9, 1.1, [](std::span<const Tensor> in) { return f(in[0], {0}); }}};
}

/// The tangent of max and min: the mean of the tangents at the elements that attain the extreme.
Tensor extreme_tangent(const TangentContext& c);

}  // namespace tenon
