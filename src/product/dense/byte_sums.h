// Sums of lines of 8-bit integers, modulo 2^32, by which zero points and shifts correct a product (zero_points.h).
#pragma once

#include <algorithm>

#include "product/dense/lower.h"
#include "product/dense/tile_store.h"

namespace tenon::product::dense {

/// sums[i] is the sum of line i, whose elements are at p + lines[i] + the offsets of `summed`. Memory is read in order
/// if the lines are contiguous or adjacent.
template <class T>
void sum_lines(const T* p, const std::int64_t* lines, std::int64_t count, const AxisList& summed,
               std::int64_t Axis::*stride, std::int32_t* sums) {
    constexpr std::int64_t kPiece = 512;
    std::int64_t offsets[kPiece];
    std::fill_n(sums, count, 0);
    const auto add = [](std::int32_t& sum, std::uint32_t x) {
        sum = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) + x);
    };
    const bool adjacent = is_affine(lines, count, 1);
    const std::int64_t k = summed.count();
    for (std::int64_t begin = 0; begin < k; begin += kPiece) {
        const std::int64_t n = std::min(kPiece, k - begin);
        fill_offsets(summed, stride, begin, n, offsets);
        const bool along = is_affine(offsets, n, 1);
        if (adjacent && !along) {
            for (std::int64_t e = 0; e < n; ++e) {
                const T* row = p + lines[0] + offsets[e];
                for (std::int64_t i = 0; i < count; ++i) add(sums[i], static_cast<std::uint32_t>(row[i]));
            }
            continue;
        }
        for (std::int64_t i = 0; i < count; ++i) {
            const T* line = p + lines[i];
            std::uint32_t sum = 0;
            if (along)
                for (std::int64_t e = 0; e < n; ++e) sum += static_cast<std::uint32_t>(line[offsets[0] + e]);
            else
                for (std::int64_t e = 0; e < n; ++e) sum += static_cast<std::uint32_t>(line[offsets[e]]);
            add(sums[i], sum);
        }
    }
}

inline void sum_lines(const void* p, DType type, const std::int64_t* lines, std::int64_t count, const AxisList& summed,
                      std::int64_t Axis::*stride, std::int32_t* sums) {
    if (type == DType::uint8)
        sum_lines(static_cast<const std::uint8_t*>(p), lines, count, summed, stride, sums);
    else
        sum_lines(static_cast<const std::int8_t*>(p), lines, count, summed, stride, sums);
}

}  // namespace tenon::product::dense
