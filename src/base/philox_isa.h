// The block function of philox.h, one copy for each instruction set.
#pragma once

#include <cstdint>

namespace tenon {

/// Writes blocks [first, first + count) of the stream, four words each.
using PhiloxBlocks = void(std::uint64_t key, std::uint64_t domain, std::uint64_t first, std::int64_t count,
                          std::uint32_t* out);

namespace baseline {
PhiloxBlocks philox_blocks;
}
namespace avx2 {
PhiloxBlocks philox_blocks;
}
namespace avx512 {
PhiloxBlocks philox_blocks;
}
namespace neon {
PhiloxBlocks philox_blocks;
}

}  // namespace tenon
