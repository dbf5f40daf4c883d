#include "tape/walk.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tenon::tape {
namespace {

constexpr std::int64_t kShortRow = 256;
constexpr std::int64_t kTransposeTile = 32;

void swap_axes(Shape& shape, std::span<Operand> operands, int a, int b) {
    std::swap(shape[a], shape[b]);
    for (Operand& o : operands) std::swap(o.strides[a], o.strides[b]);
}

void drop_axis(Shape& shape, std::span<Operand> operands, int axis) {
    shape.erase(axis);
    for (Operand& o : operands) o.strides.erase(axis);
}

/// The first operand's largest strides first, so that memory it owns is written in order.
void order_axes(Shape& shape, std::span<Operand> operands) {
    for (int i = 1; i < shape.rank(); ++i)
        for (int j = i; j > 0 && std::abs(operands[0].strides[j - 1]) < std::abs(operands[0].strides[j]); --j)
            swap_axes(shape, operands, j - 1, j);
}

void join_axes(Shape& shape, std::span<Operand> operands) {
    for (int d = shape.rank() - 2; d >= 0; --d) {
        const std::int64_t inner = shape[d + 1];
        if (!std::ranges::all_of(operands, [&](const Operand& o) { return o.strides[d] == o.strides[d + 1] * inner; }))
            continue;
        for (Operand& o : operands) o.strides[d] = o.strides[d + 1];
        shape[d] *= inner;
        drop_axis(shape, operands, d + 1);
    }
}

/// Whether some operand has a large stride along the last axis and stride one along the axis before it.
bool transposes(const Shape& shape, std::span<const Operand> operands) {
    const int row = shape.rank() - 2, column = row + 1;
    return shape[row] >= 8 && std::ranges::any_of(operands, [&](const Operand& o) {
               return std::abs(o.strides[row]) == o.size && std::abs(o.strides[column]) > o.size;
           });
}

bool dense(const Walk& walk, const Operand& o) {
    std::int64_t stride = o.size;
    for (int d = walk.shape.rank() - 1; d >= 0; --d) {
        if (walk.shape[d] != 1 && o.strides[d] != stride) return false;
        stride *= walk.shape[d];
    }
    return true;
}

template <bool kGather, class U>
void move_tile(U* block, std::byte* memory, std::int64_t row_stride, std::int64_t column_stride, std::int64_t rows,
               std::int64_t columns) {
    const auto move = [&](std::int64_t r, std::int64_t c) {
        auto* at = reinterpret_cast<U*>(memory + r * row_stride + c * column_stride);
        if constexpr (kGather)
            block[r * columns + c] = *at;
        else
            *at = block[r * columns + c];
    };
    if constexpr (kGather)
        if (column_stride == 0 && (row_stride == 0 || rows == 1)) {  // a loop that is vectorised
            std::fill_n(block, rows * columns, *reinterpret_cast<const U*>(memory));
            return;
        }
    if (column_stride == static_cast<std::int64_t>(sizeof(U)) && columns >= 8) {
        const auto bytes = static_cast<std::size_t>(columns) * sizeof(U);
        for (std::int64_t r = 0; r < rows; ++r) {
            if constexpr (kGather)
                std::memcpy(block + r * columns, memory + r * row_stride, bytes);
            else
                std::memcpy(memory + r * row_stride, block + r * columns, bytes);
        }
    } else if (std::abs(row_stride) < std::abs(column_stride)) {
        for (std::int64_t c = 0; c < columns; ++c)
            for (std::int64_t r = 0; r < rows; ++r) move(r, c);
    } else {
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t c = 0; c < columns; ++c) move(r, c);
    }
}

template <bool kGather, class U>
void move_block(const Walk& walk, const Operand& o, const Block& block, U* to) {
    const int last = walk.shape.rank() - 1;
    std::byte* memory = address(o, block);
    if (walk.tiles)
        return move_tile<kGather>(to, memory, o.strides[last - 1], o.strides[last], block.rows, block.columns);
    Extents index = block.index;
    for (std::int64_t done = 0; done < block.n;) {
        const std::int64_t run = std::min(walk.shape[last] - index[last], block.n - done);
        move_tile<kGather>(to + done, memory, 0, o.strides[last], 1, run);
        done += run;
        index[last] += run;
        memory += run * o.strides[last];
        for (int d = last; d > 0 && index[d] == walk.shape[d]; --d) {
            memory += o.strides[d - 1] - index[d] * o.strides[d];
            index[d] = 0;
            ++index[d - 1];
        }
    }
}

template <bool kGather>
void move_any(const Walk& walk, const Operand& o, const Block& block, void* to) {
    switch (o.size) {
        case 1:
            return move_block<kGather>(walk, o, block, static_cast<std::uint8_t*>(to));
        case 2:
            return move_block<kGather>(walk, o, block, static_cast<std::uint16_t*>(to));
        case 4:
            return move_block<kGather>(walk, o, block, static_cast<std::uint32_t*>(to));
        default:
            return move_block<kGather>(walk, o, block, static_cast<std::uint64_t*>(to));
    }
}

std::int64_t pieces(std::int64_t n, std::int64_t size) { return (n + size - 1) / size; }

}  // namespace

Walk plan_walk(const Shape& full, std::span<Operand> operands, std::int64_t block) {
    Walk walk{full, true, block, 1, block, 0};
    Shape& shape = walk.shape;
    for (int d = shape.rank() - 1; d >= 0; --d)
        if (shape[d] == 1) drop_axis(shape, operands, d);
    order_axes(shape, operands);
    join_axes(shape, operands);
    while (shape.rank() < 2) {
        shape.insert(0, 1);
        for (Operand& o : operands) o.strides.insert(0, 0);
    }
    const int row = shape.rank() - 2, column = row + 1;
    if (row > 0 && shape[row] * shape[column] < kShortRow) {
        walk.tiles = false;
        walk.blocks = pieces(count(shape), block);
        return walk;
    }
    if (transposes(shape, operands)) {
        walk.tile_rows = walk.tile_columns = block < kBlock ? kTransposeTile / 2 : kTransposeTile;
    } else if (shape[column] < kShortRow) {
        walk.tile_columns = shape[column];
        walk.tile_rows = block / shape[column];
    }
    if (walk.tile_columns < shape[column] && walk.tile_rows == 1) {  // tiles of about one size
        constexpr std::int64_t kMultiple = 64;
        const std::int64_t even = pieces(shape[column], pieces(shape[column], walk.tile_columns));
        walk.tile_columns = std::min(walk.tile_columns, pieces(even, kMultiple) * kMultiple);
    }
    walk.blocks = pieces(shape[row], walk.tile_rows) * pieces(shape[column], walk.tile_columns);
    for (int d = 0; d < row; ++d) walk.blocks *= shape[d];
    return walk;
}

Block block_at(const Walk& walk, std::int64_t i) {
    const Shape& shape = walk.shape;
    const int row = shape.rank() - 2, column = row + 1;
    Block block{0, 1, 0, shape};
    const auto unravel = [&](std::int64_t at, int rank) {
        for (int d = rank - 1; d > 0; --d) {
            block.index[d] = at % shape[d];
            at /= shape[d];
        }
        if (rank > 0) block.index[0] = at;
    };
    if (!walk.tiles) {
        const std::int64_t begin = i * walk.block;
        unravel(begin, shape.rank());
        block.n = block.columns = std::min(walk.block, count(shape) - begin);
        return block;
    }
    const std::int64_t across = pieces(shape[column], walk.tile_columns), down = pieces(shape[row], walk.tile_rows);
    block.index[column] = i % across * walk.tile_columns;
    i /= across;
    block.index[row] = i % down * walk.tile_rows;
    unravel(i / down, row);
    block.rows = std::min(walk.tile_rows, shape[row] - block.index[row]);
    block.columns = std::min(walk.tile_columns, shape[column] - block.index[column]);
    block.n = block.rows * block.columns;
    return block;
}

bool contiguous(const Walk& walk, const Operand& o, const Block& block) {
    if (!walk.tiles) return dense(walk, o);
    const int row = walk.shape.rank() - 2;
    return (o.strides[row + 1] == o.size || block.columns == 1) &&
           (o.strides[row] == block.columns * o.size || block.rows == 1);
}

bool always_contiguous(const Walk& walk, const Operand& o) {
    if (!walk.tiles) return dense(walk, o);
    const int row = walk.shape.rank() - 2;
    const bool whole_rows = walk.tile_columns >= walk.shape[row + 1] && o.strides[row] == walk.shape[row + 1] * o.size;
    return o.strides[row + 1] == o.size && (walk.tile_rows == 1 || walk.shape[row] == 1 || whole_rows);
}

void gather(const Walk& walk, const Operand& operand, const Block& block, void* to) {
    move_any<true>(walk, operand, block, to);
}

void scatter(const Walk& walk, const Operand& operand, const Block& block, const void* from) {
    move_any<false>(walk, operand, block, const_cast<void*>(from));
}

}  // namespace tenon::tape
