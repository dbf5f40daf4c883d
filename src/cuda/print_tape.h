// Tapes as CUDA C++. A kernel depends on the structure alone: the tape, the number of axes left when those that run
// together are one, which operands are adjacent in memory along the last of them, and how many elements a thread takes;
// extents, strides and addresses are its arguments.
#pragma once

#include <string>
#include <vector>

#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// How an operand lies along the last axis; `transposed` is strided there, and side by side along the form's tile axis.
enum class Along : char { contiguous = 'c', repeated = 'r', strided = 's', transposed = 't' };

struct LoopForm {
    int rank;  // at least 1
    int width;  // elements a thread
    bool wide_index;  // 64-bit counting
    std::vector<Along> operands;  // outputs, then inputs
    int tile_axis =
        -1;  // where an input is transposed: a block takes squares of kTile elements along this axis and the last
};
inline constexpr int kTile = 64;

inline constexpr int kLoopThreads = 256;

/// A kernel `run` whose one argument is of 64-bit words: the extents, the groups of `width` along the last axis, the
/// groups in all, and for each operand its address and its strides in elements.
std::string print(const tape::Tape& tape, const LoopForm& form);

/// What kernels of two tapes are told apart by, beside their forms.
std::string words_of(const tape::Tape& tape);
std::string words_of(const tape::RowTape& tape);

/// A kernel `run` for a tape of rows. A block takes whole rows together, or one row, and keeps in shared memory what a
/// later pass reads again; its threads compute elements. A reduction whose order matters reads its operand in shared
/// memory, where a warp takes the 64 lanes of a chunk; extremes and integers join in registers.
///
/// Rows that are spread take several kernels (spread_steps), one block for each chunk of a row: `block_rows` are the
/// chunks of a row, `piece` the elements that a block computes at a time, and one more operand points at memory for
/// what the kernels leave to the next ones (spread_words).
struct RowForm {
    int width;  // elements a thread takes of a row at a time; divides the columns
    int threads;
    int axes;  // of the rows, joined; may be 0
    bool one_row;  // a block takes one row; else several
    bool spread;  // over many blocks; what is computed is not kept, but computed again
    std::vector<Along> operands;  // outputs, then inputs; those of rows are `repeated`
};
std::string print(const tape::RowTape& tape, const RowForm& form);

/// Dynamic shared memory of a block that has so many elements, of so many rows.
std::int64_t shared_bytes(const tape::RowTape& tape, const RowForm& form, std::int64_t elements, std::int64_t rows);

/// A kernel of spread rows: with a block for each row, or one for each chunk of each row.
struct SpreadStep {
    std::string kernel;
    bool of_rows;
};
std::vector<SpreadStep> spread_steps(const tape::RowTape& tape, const RowForm& form);
/// The memory that they need, in words of 8 bytes.
std::int64_t spread_words(const tape::RowTape& tape, std::int64_t rows, std::int64_t chunks);

/// A kernel of the same arguments that keeps rows in registers, a row in those of a team of threads.
struct RegisterForm {
    int team;  // threads of a row: 8, 16, 32, or several warps, 64 to 512
    int access;  // elements side by side that a thread reads at once; divides 64 / team, 2 for several warps
    int steps;  // of 64 elements, of a warp, at most
    bool all;  // a row is all of that; else no more
    int threads;  // a multiple of the team
    int axes;
    std::vector<Along> operands;
};
std::string print(const tape::RowTape& tape, const RegisterForm& form);
/// A kernel of the same arguments for rows of several chunks of a reduction, compute capability 9.0: a block takes row
/// after row, which the copy engine brings into shared memory. Inputs of elements are adjacent in memory at multiples
/// of 16 bytes; what is computed is not kept from phase to phase.
struct LongForm {
    int access;  // elements side by side that a thread takes at once where nothing is in order; divides the columns
    int pieces;  // of kLongPiece columns, the last one perhaps shorter
    int slots;  // for pieces, at least a row's
    int warps;  // that compute
    int blocks;  // that a multiprocessor holds
    int axes;
    std::vector<Along> operands;
    int kept = 0;  // parts of a warp that stay in its registers from the first phase to the last (keeps_parts)
};
inline constexpr int kLongPiece = 2048;
std::string print(const tape::RowTape& tape, const LongForm& form);
/// No phase both sums in order and writes elements.
bool prints_long(const tape::RowTape& tape);
/// Two phases read one and the same input: a reduction in any order, then sums in order.
bool keeps_parts(const tape::RowTape& tape);

/// Registers of 32 bits that hold what is kept of an element at one time, at most: a thread of a warp has 2 * steps
/// elements.
int kept_words(const tape::RowTape& tape, bool several_warps);

/// A kernel that leaves, for each output of the tape, the 64 lanes of a sum over the rows for each chunk of them
/// (column_sums.h). Its arguments are those of rows: `block_rows` are the chunks, outputs where the lanes go.
struct ColumnForm {
    int width;  // columns a thread takes, side by side; divides the columns
    int lanes;  // of a block
    int axes;  // of the rows, joined
    std::vector<Along> inputs;
};
std::string print(const tape::Tape& tape, const ColumnForm& form);

/// A kernel of the same arguments for a tape of rows and sums of columns over them, in one pass, compute
/// capability 9.0: a block has one of the 64 lanes of a chunk, of whose rows the copy engine brings eight or sixteen at
/// a time. Each is a warp's, as in rows in registers; then threads of other warps add up columns of their own, row
/// after row. The operands are those of the rows, then, for each sum, where the lanes go, and values of columns that
/// the sums read.
struct RowSumsForm {
    struct Input {  // of the tape of sums
        enum class From : std::uint8_t { brought, row, columns } from;
        std::size_t at;  // the rows' input, their register, or which of the values of columns
    };
    RegisterForm rows;  // a warp's teams, whose steps are whole rows
    std::vector<bool> brought;  // inputs of the rows that lie in shared memory
    std::vector<Input> inputs;
    int teams, slots;  // rows at a time, and places for as many
    int row_registers, column_registers;  // of a thread that has rows, or columns
};
inline constexpr int kRowSumsColumnWarps = 4;
std::string print(const tape::RowTape& rows, const tape::Tape& sums, const RowSumsForm& form);

/// The instruction as an expression over registers named r0, r1, ..., as memory holds them (tape.cuh) or wide
/// (wide.cuh).
std::string expression(const tape::Instruction& code, const std::vector<std::string>& registers, bool wide = false);
/// "DType::float32".
std::string type_name(DType type);

}  // namespace tenon::cuda
