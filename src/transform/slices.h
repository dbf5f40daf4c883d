// Cotangents of slices of one tensor.
#pragma once

#include <span>

#include "tenon/tensor.h"

namespace tenon::transform {

/// The sum of one or more pads (is_plain_pad) to one shape. Pads whose elements lie next to each other, such as the
/// parts of a tensor that was cut into queries, keys and values, are concatenated: that writes each element once, where
/// a sum writes, reads and adds the whole tensor for each pad.
Tensor sum_of_pads(std::span<const Tensor> pads);

}  // namespace tenon::transform
