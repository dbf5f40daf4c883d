// How strided operands are cut into blocks: axes that a single stride can walk in all operands are merged, and the
// elements are visited in tiles of the last two axes (or, if those are short, in runs of the row-major order) of at
// most a block.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "base/view.h"

namespace tenon::tape {

inline constexpr std::int64_t kBlock = 1024;  // the most elements of a block
inline constexpr std::int64_t kSmallBlock = 256;  // the smallest block that may be asked for

/// A view in bytes; its strides follow the walk's axes.
struct Operand {
    std::byte* data;
    std::int64_t size;  // of an element
    Strides strides;
};

struct Block {
    std::int64_t n;  // elements; rows * columns in a tile
    std::int64_t rows, columns;
    Extents index;  // of the first element
};

struct Walk {
    Shape shape;  // at least two axes
    bool tiles;  // otherwise runs
    std::int64_t block;  // elements at most
    std::int64_t tile_rows, tile_columns;
    std::int64_t blocks;  // how many
};

/// Merges axes and changes the operands' strides accordingly; the first operand (an output) determines the order of the
/// axes.
Walk plan_walk(const Shape& shape, std::span<Operand> operands, std::int64_t block = kBlock);

Block block_at(const Walk& walk, std::int64_t i);

inline std::byte* address(const Operand& operand, const Block& block) {
    std::int64_t at = 0;
    for (int d = 0; d < block.index.rank(); ++d) at += block.index[d] * operand.strides[d];
    return operand.data + at;
}

/// Whether the block's elements are contiguous, in the block's order.
bool contiguous(const Walk& walk, const Operand& operand, const Block& block);
/// Whether this holds for every block.
bool always_contiguous(const Walk& walk, const Operand& operand);

void gather(const Walk& walk, const Operand& operand, const Block& block, void* to);
void scatter(const Walk& walk, const Operand& operand, const Block& block, const void* from);

/// How many of n blocks make a piece, so that pieces of about `grain` blocks are equal: 48 blocks at a grain of 32 are
/// 24 and 24.
inline std::int64_t even_grain(std::int64_t n, std::int64_t grain) {
    const std::int64_t pieces = std::max<std::int64_t>(1, (n + grain - 1) / grain);
    return std::max<std::int64_t>(1, (n + pieces - 1) / pieces);
}

}  // namespace tenon::tape
