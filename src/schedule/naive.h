// What a GPU's library of products and this library's fusion are compared with: kernels of a thread an element, one
// after the other, each result in memory. For `tenon bench three-way`.
#pragma once

#include <cstdint>
#include <vector>

#include "tenon/tensor.h"

namespace tenon::schedule {

/// The contraction of two tensors on a CUDA device (labels as `tenon::contract` has them), computed and row-major.
TENON_API Tensor contract_naively(const Tensor& a, const std::vector<std::uint8_t>& a_labels, const Tensor& b,
                                  const std::vector<std::uint8_t>& b_labels,
                                  const std::vector<std::uint8_t>& out_labels);
/// The elements of a view of a tensor on a CUDA device, row-major in memory of their own.
TENON_API Tensor copy_naively(const Tensor& x);

}  // namespace tenon::schedule
