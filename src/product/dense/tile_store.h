// From a tile of sums to the output: its strides and its dtype, each element rounded once.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "tenon/dtype.h"

namespace tenon::product::dense {

/// Rows and columns of the output that a tile covers, as offsets from `out`.
struct TileTarget {
    void* out;
    const std::int64_t *row_offsets, *column_offsets;
    std::int64_t rows, columns;
};

template <class T>
using StoreTile = void (*)(const T* tile, std::int64_t ld, const TileTarget& target);

/// to_bfloat16, where a compiler can vectorise it.
inline bfloat16 round_to_bfloat16(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, nan = bits >> 16 | 0x40u;
    return {static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

template <class Out, class T>
Out narrow(T x) {
    if constexpr (std::is_same_v<Out, float16>)
        return to_float16(x);
    else if constexpr (std::is_same_v<Out, bfloat16>)
        return round_to_bfloat16(x);
    else
        return static_cast<Out>(x);
}

inline bool is_affine(const std::int64_t* offsets, std::int64_t n, std::int64_t step) {
    std::int64_t gaps = 0;
    for (std::int64_t i = 1; i < n; ++i) gaps |= offsets[i] - offsets[i - 1] - step;
    return gaps == 0;
}

template <class T, class Out>
void store_tile(const T* tile, std::int64_t ld, const TileTarget& target) {
    const bool unit = is_affine(target.column_offsets, target.columns, 1);
    for (std::int64_t i = 0; i < target.rows; ++i, tile += ld) {
        Out* row = static_cast<Out*>(target.out) + target.row_offsets[i];
        if (unit) {
            row += target.column_offsets[0];
            for (std::int64_t j = 0; j < target.columns; ++j) row[j] = narrow<Out>(tile[j]);
        } else {
            for (std::int64_t j = 0; j < target.columns; ++j) row[target.column_offsets[j]] = narrow<Out>(tile[j]);
        }
    }
}

/// The inverse, for an output that holds sums as they are.
template <class T>
void load_tile(T* tile, std::int64_t ld, const TileTarget& target) {
    for (std::int64_t i = 0; i < target.rows; ++i, tile += ld) {
        const T* row = static_cast<const T*>(target.out) + target.row_offsets[i];
        for (std::int64_t j = 0; j < target.columns; ++j) tile[j] = row[target.column_offsets[j]];
    }
}

}  // namespace tenon::product::dense
