// The launch that adds partial sums (sum_parts.cuh).
#pragma once

#include <cstdint>

namespace tenon::cuda {

/// Blocks of 256 threads for parts of this many elements.
inline std::uint32_t sum_blocks(std::int64_t elements, std::int64_t parts) {
    constexpr std::int64_t kFewParts = 8;  // as sum_parts.cuh has it
    return static_cast<std::uint32_t>(elements / 4 / (parts <= kFewParts ? 256 : 32));
}

}  // namespace tenon::cuda
