// The baseline for `tenon bench three-way`: kernels with one thread for each element, one after the other, each result
// in memory. A GPU's product library and this library's fusion are compared with it.
#pragma once

#include <cstdint>
#include <vector>

#include "tenon/tensor.h"

namespace tenon::schedule {

/// The contraction of two tensors on a CUDA device (labels as in `tenon::contract`), computed, row-major.
TENON_API Tensor contract_naively(const Tensor& a, const std::vector<std::uint8_t>& a_labels, const Tensor& b,
                                  const std::vector<std::uint8_t>& b_labels,
                                  const std::vector<std::uint8_t>& out_labels);
/// The elements of a view of a tensor on a CUDA device, copied row-major.
TENON_API Tensor copy_naively(const Tensor& x);

}  // namespace tenon::schedule
