// Mixing for structural keys: a 128-bit product folded to 64 bits, one multiply a word.
#pragma once

#include <cstdint>

namespace tenon {

inline std::uint64_t mix(std::uint64_t state, std::uint64_t word) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(state ^ 0x9e3779b97f4a7c15u) * (word ^ 0xd6e8feb86659fd93u);
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64) ^ (word << 1);
}

}  // namespace tenon
