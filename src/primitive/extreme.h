// What maximum and minimum share: their tangent.
#pragma once

#include "primitive/pointwise.h"

namespace tenon {

/// `first_wins` is true where the first operand is the result and the second is not. Equal operands share the
/// derivative evenly, as in max and min over an axis. A NaN is the result, so it has the derivative.
inline Tensor tangent_of_extreme(const TangentContext& c, const Tensor& first_wins) {
    const Tensor first = bitwise_or(first_wins, isnan(c.in[0])), tie = equal(c.in[0], c.in[1]);
    const Tensor zero = zeros_of(c.out.shape(), c.out.dtype());
    const Tensor weight = select(first, zero + 1, select(tie, zero + 0.5, zero));
    const Tensor a = c.d[0].defined() ? c.d[0] * weight : Tensor();
    const Tensor b = c.d[1].defined() ? c.d[1] * (1 - weight) : Tensor();
    return sum_of(a, b);
}

}  // namespace tenon
