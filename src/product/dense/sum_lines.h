// Sums of lines of 8-bit integers, modulo 2^32, by which zero points and shifts correct a product (zero_points.h).
#pragma once

#include <algorithm>

#include "base/by_isa.h"
#include "base/cpu.h"
#include "product/dense/byte_sums.h"
#include "product/dense/lower.h"
#include "product/dense/tile_store.h"

namespace tenon::product::dense {

inline const IsaByteSums& byte_sums() { return TENON_BY_ISA(isa(), kByteSums); }

/// sums[i] is the sum of line i, whose elements are at p + lines[i] + the offsets of `summed`. Memory is read in order
/// if the lines are contiguous or adjacent.
template <class T>
void sum_lines(const ByteSums<T>& kernels, const T* p, const std::int64_t* lines, std::int64_t count,
               const AxisList& summed, std::int64_t Axis::*stride, std::int32_t* sums) {
    constexpr std::int64_t kPiece = 512;
    std::int64_t offsets[kPiece];
    std::fill_n(sums, count, 0);
    auto* const wrapping = reinterpret_cast<std::uint32_t*>(sums);
    const bool adjacent = is_affine(lines, count, 1);
    const std::int64_t k = summed.count();
    for (std::int64_t begin = 0; begin < k; begin += kPiece) {
        const std::int64_t n = std::min(kPiece, k - begin);
        fill_offsets(summed, stride, begin, n, offsets);
        const bool along = is_affine(offsets, n, 1);
        if (adjacent && !along) {
            kernels.adjacent(p + lines[0], offsets, n, count, wrapping);
            continue;
        }
        for (std::int64_t i = 0; i < count; ++i) {
            const T* line = p + lines[i];
            if (along) {
                wrapping[i] += kernels.along(line + offsets[0], n);
                continue;
            }
            for (std::int64_t e = 0; e < n; ++e) wrapping[i] += static_cast<std::uint32_t>(line[offsets[e]]);
        }
    }
}

inline void sum_lines(const void* p, DType type, const std::int64_t* lines, std::int64_t count, const AxisList& summed,
                      std::int64_t Axis::*stride, std::int32_t* sums) {
    const IsaByteSums& kernels = byte_sums();
    if (type == DType::uint8)
        sum_lines(kernels.u8, static_cast<const std::uint8_t*>(p), lines, count, summed, stride, sums);
    else
        sum_lines(kernels.s8, static_cast<const std::int8_t*>(p), lines, count, summed, stride, sums);
}

}  // namespace tenon::product::dense
