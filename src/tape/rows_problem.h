// A row tape bound to its operands: what runs in which phase, and where everything is in memory.
#pragma once

#include "tape/kernels.h"
#include "tape/row_timing.h"
#include "tape/rows.h"
#include "tape/walk.h"

namespace tenon::tape::rows {

inline constexpr std::size_t kMaxRegisters = 255;
inline constexpr std::int64_t kWide = 8;  // bytes that hold any value
inline constexpr std::int64_t kGrainElements = 32 * kBlock;

inline std::int64_t bytes_of(DType t) { return static_cast<std::int64_t>(size_of(t)); }

/// An operand's memory; `rows` are its strides along the rows' axes.
struct Place {
    std::byte* data;
    DType type;
    bool per_row;
    Strides rows;
    std::int64_t column;  // stride, 0 for per_row
};

/// What runs during one visit of the columns: codes in order, those of rows first, and what they read and write.
struct Phase {
    std::size_t first = 0, elements = 0, end = 0;
    std::vector<int> inputs, outputs;
};

struct Problem {
    const RowTape* tape;
    Timing timing;
    std::vector<Phase> phases;
    std::vector<Place> inputs, outputs;
    Shape axes;  // of the rows, merged
    std::int64_t rows, columns;
    std::int64_t block_rows, block_columns;  // rows visited together; columns at a time
    std::vector<int> direct;  // the output that each code may write directly, or -1
    std::vector<char> kept;  // of each register
};

/// Throws if the operands do not fit the tape.
Problem make_problem(const RowTape& tape, std::span<const View> inputs, std::span<const View> outputs);

/// Byte offset of row `row` in the operand's memory; rows are counted row-major.
std::int64_t offset_of(const Problem& p, const Place& o, std::int64_t row);

/// Copies n elements of `size` bytes; strides in bytes.
void move(std::int64_t size, std::byte* to, std::int64_t to_stride, const std::byte* from, std::int64_t from_stride,
          std::int64_t n);

/// Gathers the rows' values of an operand of rows, from row `row`, contiguously; and scatters them.
void gather_rows(const Problem& p, const Place& from, std::int64_t row, std::int64_t n, std::byte* to);
void scatter_rows(const Problem& p, const Place& to, std::int64_t row, std::int64_t n, const std::byte* from);

inline Kernel kernel_of(const KernelTable& table, const Instruction& code) {
    return code.op == Opcode::cast ? table.cast[static_cast<int>(code.type)][static_cast<int>(code.result)]
                                   : table.elementwise[static_cast<int>(code.op)][static_cast<int>(code.type)];
}

}  // namespace tenon::tape::rows
