// What the cumulative primitives share.
#pragma once

#include "base/text.h"
#include "primitive/axes.h"
#include "primitive/primitive.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {

inline Signature infer_cumulative(const Primitive& p, std::span<const Tensor> in, const Attributes&) {
    if (in[0].dtype() == DType::boolean)
        throw TypeError(text(p.name, " of ", described(in[0]), ": not defined for this dtype"));
    return {in[0].shape(), in[0].dtype()};
}

template <tape::Reduction op>
constexpr Primitive cumulative(std::string_view name, std::string_view doc) {
    return {.name = name,
            .doc = doc,
            .role = Role::reduction,
            .infer = infer_cumulative,
            .reference = [](const Node& n, std::span<const View> in, const View& out) {
                tape::cumulative(op, in[0], static_cast<int>(n.attributes[0]), out);
            }};
}

template <Tensor (*f)(const Tensor&, int)>
std::vector<Sample> cumulative_samples() {
    return {Sample{{{3, 4}}, 0.5, 1.5, [](std::span<const Tensor> in) { return f(in[0], 0); }},
            Sample{{{2, 5, 3}}, -1, 1, [](std::span<const Tensor> in) { return f(in[0], 1); }}};
}

}  // namespace tenon
