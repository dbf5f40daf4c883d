// Sums of bytes, modulo 2^32, by which zero points and shifts correct a product (sum_lines.h).
#pragma once

#include <cstdint>

namespace tenon::product::dense {

template <class T>
struct ByteSums {
    /// Adds to sums[i] the elements at p + offsets[e] + i, for e from 0 to n - 1; of `count` lines that are adjacent.
    void (*adjacent)(const T* p, const std::int64_t* offsets, std::int64_t n, std::int64_t count, std::uint32_t* sums);
    /// The sum of n elements.
    std::uint32_t (*along)(const T* p, std::int64_t n);
};
struct IsaByteSums {
    ByteSums<std::uint8_t> u8;
    ByteSums<std::int8_t> s8;
    /// sums[j] -= factor * columns[j].
    void (*subtract)(std::uint32_t* sums, const std::int32_t* columns, std::uint32_t factor, std::int64_t n);
};

// clang-format off
namespace baseline { extern const IsaByteSums kByteSums; }
namespace avx2 { extern const IsaByteSums kByteSums; }
namespace avx512 { extern const IsaByteSums kByteSums; }
namespace neon { extern const IsaByteSums kByteSums; }
// clang-format on

}  // namespace tenon::product::dense
