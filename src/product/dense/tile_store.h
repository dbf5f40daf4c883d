// From a tile of sums to the output: its strides and its dtype, each element rounded once.
#pragma once

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

template <class Out, class T>
Out narrow(T x) {
    if constexpr (std::is_same_v<Out, float16>)
        return to_float16(x);
    else if constexpr (std::is_same_v<Out, bfloat16>)
        return to_bfloat16(x);
    else
        return static_cast<Out>(x);
}

template <class T, class Out>
void store_tile(const T* tile, std::int64_t ld, const TileTarget& target) {
    for (std::int64_t i = 0; i < target.rows; ++i, tile += ld) {
        Out* row = static_cast<Out*>(target.out) + target.row_offsets[i];
        for (std::int64_t j = 0; j < target.columns; ++j) row[target.column_offsets[j]] = narrow<Out>(tile[j]);
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
