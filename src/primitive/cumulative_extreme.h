// The tangent of cumulative_max and cumulative_min.
#pragma once

#include "primitive/cumulative.h"

namespace tenon {

/// The tangent of the element that is the extreme so far: of equals, the latest.
inline Tensor cumulative_extreme_tangent(const TangentContext& c) {
    const int axis = static_cast<int>(c.node.attributes[0]);
    const Shape& shape = c.out.shape();
    const std::int64_t n = shape[axis];
    std::int64_t inner = 1;
    for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
    Shape along(shape.rank(), 1);
    along[axis] = n;
    const Tensor position = broadcast_to(reshape(iota(n, DType::int64), along), shape);
    const Tensor attained = select(equal(c.in[0], c.out), position, Tensor(0));
    const Tensor source = cumulative_max(attained, axis);
    // The same element's position in the flattened tensor.
    const Tensor flat = reshape(iota(c.out.size(), DType::int64), shape) + (source - position) * inner;
    return gather(reshape(c.d[0], {c.out.size()}), flat);
}

}  // namespace tenon
