// Tensor maps of the operands of structured layers.
#pragma once

#include <array>
#include <cstdint>

#include "cuda/launch.h"

namespace tenon::cuda {

/// The map of a bf16 tensor at `data` in the 128-byte swizzle. Extents and the box are in elements. Strides are in
/// bytes, for all axes but the first, whose stride is one element.
template <std::size_t n>
TensorMap map_of(const void* data, const std::array<std::uint64_t, n>& extents,
                 const std::array<std::uint64_t, n - 1>& strides, const std::array<std::uint32_t, n>& box) {
    return encode(DType::bfloat16, const_cast<void*>(data), {extents, strides, box, Swizzle::bytes128, 0});
}

}  // namespace tenon::cuda
