// The launch that adds partial sums (sum_parts.cuh).
#pragma once

#include <cstdint>

namespace tenon::cuda {

/// The number of blocks of 256 threads that add `parts` parts of so many elements.
inline std::uint32_t sum_blocks(std::int64_t elements, std::int64_t parts) {
    constexpr std::int64_t kFewParts = 8;  // as in sum_parts.cuh
    return static_cast<std::uint32_t>(elements / 4 / (parts <= kFewParts ? 256 : 32));
}

}  // namespace tenon::cuda
