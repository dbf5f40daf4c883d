// Sums of bytes, in 16 bits for as many as cannot overflow.
#include "product/dense/byte_sums.h"

namespace tenon::product::dense {
namespace {

/// So many bytes of either sign sum to less than 2^15.
constexpr std::int64_t kFew = 128;

/// So many bytes at once, widened by conversions that are single instructions.
constexpr int kLanes = 32;
using Few __attribute__((vector_size(2 * kLanes))) = std::int16_t;
using Wide __attribute__((vector_size(4 * kLanes))) = std::uint32_t;

template <class T>
__attribute__((always_inline)) inline void add_bytes(Few& few, const T* p) {
    using Bytes __attribute__((vector_size(kLanes))) = T;
    Bytes bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    few += __builtin_convertvector(bytes, Few);
}
__attribute__((always_inline)) inline void add(std::uint32_t* sums, const Few& few) {
    Wide sum;
    __builtin_memcpy(&sum, sums, sizeof sum);
    sum += __builtin_convertvector(few, Wide);
    __builtin_memcpy(sums, &sum, sizeof sum);
}

/// Some rows at a time, so that the sums are loaded and stored once for them.
template <class T>
void sum_adjacent(const T* p, const std::int64_t* offsets, std::int64_t n, std::int64_t count, std::uint32_t* sums) {
    constexpr std::int64_t kRows = 8;
    const std::int64_t whole = count / kLanes * kLanes;
    for (std::int64_t e = 0; e < n; e += kRows) {
        const std::int64_t rows = n - e < kRows ? n - e : kRows;
        for (std::int64_t i = 0; i < whole; i += kLanes) {
            Few few{};
            if (rows == kRows)
#pragma GCC unroll 8
                for (std::int64_t r = 0; r < kRows; ++r) add_bytes(few, p + offsets[e + r] + i);
            else
                for (std::int64_t r = 0; r < rows; ++r) add_bytes(few, p + offsets[e + r] + i);
            add(sums + i, few);
        }
        for (std::int64_t i = whole; i < count; ++i)
            for (std::int64_t r = 0; r < rows; ++r) sums[i] += static_cast<std::uint32_t>(p[offsets[e + r] + i]);
    }
}

template <class T>
std::uint32_t sum_along(const T* p, std::int64_t n) {
    std::uint32_t sum = 0;
    std::int64_t e = 0;
    while (e + kLanes <= n) {
        Few few{};
        for (std::int64_t i = 0; i < kFew && e + kLanes <= n; ++i, e += kLanes) add_bytes(few, p + e);
        for (int l = 0; l < kLanes; ++l) sum += static_cast<std::uint32_t>(few[l]);
    }
    for (; e < n; ++e) sum += static_cast<std::uint32_t>(p[e]);
    return sum;
}

void subtract(std::uint32_t* __restrict sums, const std::int32_t* __restrict columns, std::uint32_t factor,
              std::int64_t n) {
    for (std::int64_t j = 0; j < n; ++j) sums[j] -= factor * static_cast<std::uint32_t>(columns[j]);
}

}  // namespace

namespace TENON_ISA {
extern const IsaByteSums kByteSums;
constexpr IsaByteSums kByteSums = {{sum_adjacent<std::uint8_t>, sum_along<std::uint8_t>},
                                   {sum_adjacent<std::int8_t>, sum_along<std::int8_t>},
                                   subtract};
}  // namespace TENON_ISA

}  // namespace tenon::product::dense
