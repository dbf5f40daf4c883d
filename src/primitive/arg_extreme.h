// What argmax and argmin share.
#pragma once

#include "base/text.h"
#include "primitive/axes.h"
#include "primitive/primitive.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {

template <tape::Reduction op>
constexpr Primitive arg_extreme(std::string_view name, std::string_view doc, std::vector<Sample> (*samples)()) {
    return {.name = name,
            .doc = doc,
            .role = Role::reduction,
            .infer =
                [](const Primitive& p, std::span<const Tensor> in, const Attributes& a) {
                    if (in[0].dtype() == DType::boolean)
                        throw TypeError(text(p.name, " of ", described(in[0]), ": not defined for this dtype"));
                    const int axis = static_cast<int>(a[0]);
                    Shape s = in[0].shape();
                    if (s[axis] == 0)
                        throw ShapeError(text(p.name, ": axis ", axis, " of ", to_string(s), " is empty"));
                    s.erase(axis);
                    return Signature{s, DType::int64};
                },
            .derivative = Derivative::none,
            .reference = [](const Node& n, std::span<const View> in,
                            const View& out) { tape::argreduce(op, in[0], {n.attributes[0]}, out); },
            .samples = samples};
}

}  // namespace tenon
