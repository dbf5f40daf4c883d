// Tensor maps of the chains' operands.
#pragma once

#include <array>
#include <cstdint>

#include "cuda/launch.h"

namespace tenon::cuda {

/// Of bf16 at `data`: extents and boxes in elements, strides in bytes, of all axes but the first.
template <std::size_t n>
TensorMap map_of(const void* data, const std::array<std::uint64_t, n>& extents,
                 const std::array<std::uint64_t, n - 1>& strides, const std::array<std::uint32_t, n>& box) {
    return encode(DType::bfloat16, const_cast<void*>(data), {extents, strides, box, Swizzle::bytes128, 0});
}

}  // namespace tenon::cuda
