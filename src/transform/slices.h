// Cotangents of slices of one tensor.
#pragma once

#include <span>

#include "tenon/tensor.h"

namespace tenon::transform {

/// The sum of pads (is_plain_pad) to one shape, of at least one. Those whose elements lie next to each other, as the
/// parts of a tensor that was cut into queries, keys and values, are concatenated: that writes each element once where
/// a sum of pads writes, reads and adds all for each.
Tensor sum_of_pads(std::span<const Tensor> pads);

}  // namespace tenon::transform
