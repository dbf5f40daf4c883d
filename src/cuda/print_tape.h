// Prints tapes as CUDA C++. A kernel depends on the structure alone: the tape, the number of axes once those that run
// together are joined, which operands are contiguous along the last of them, and how many elements a thread takes.
// Extents, strides and addresses are arguments.
#pragma once

#include <string>
#include <vector>

#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// How an operand is stored along the last axis. A `transposed` one is strided there, and contiguous along the form's
/// tile axis.
enum class Along : char { contiguous = 'c', repeated = 'r', strided = 's', transposed = 't' };

struct LoopForm {
    int rank;  // at least 1
    int width;  // elements of a thread
    bool wide_index;  // whether indices have 64 bits, not 32
    std::vector<Along> operands;  // outputs, then inputs
    // Where an input is transposed, a block takes squares of kTile by kTile elements along this axis and the last.
    int tile_axis = -1;
};
inline constexpr int kTile = 64;

inline constexpr int kLoopThreads = 256;

/// Prints a kernel `run`. Its one argument is an array of 64-bit words: the extents, the number of groups of `width`
/// along the last axis, the number of all groups, and for each operand its address and its strides in elements.
std::string print(const tape::Tape& tape, const LoopForm& form);

/// The part of a kernel's key that its tape decides; the form decides the rest.
std::string words_of(const tape::Tape& tape);
std::string words_of(const tape::RowTape& tape);

/// The form of a kernel `run` for a row tape. A block takes one row or several, and keeps in shared memory what a later
/// phase reads again. A reduction whose order matters reads its operand from shared memory, where a warp takes the 64
/// lanes of a chunk; extremes and integers are reduced in registers.
///
/// Spread rows take several kernels (spread_steps), with a block for each chunk of a row. There, `block_rows` is the
/// number of chunks of a row, `piece` is the number of elements that a block computes at a time, and one more operand
/// points to memory for what the kernels leave to later ones (spread_words).
struct RowForm {
    int width;  // elements of a row that a thread takes at a time; divides the columns
    int threads;
    int axes;  // axes of the rows, once joined; may be 0
    bool one_row;  // whether a block takes one row, not several
    bool spread;  // whether a row is spread over blocks; elements are then computed again in each phase, not kept
    std::vector<Along> operands;  // outputs, then inputs; operands with one value for each row are `repeated`
};
std::string print(const tape::RowTape& tape, const RowForm& form);

/// The dynamic shared memory in bytes of a block with so many elements of so many rows.
std::int64_t shared_bytes(const tape::RowTape& tape, const RowForm& form, std::int64_t elements, std::int64_t rows);

/// A kernel of spread rows. It has a block for each row (`of_rows`), or for each chunk of each row.
struct SpreadStep {
    std::string kernel;
    bool of_rows;
};
std::vector<SpreadStep> spread_steps(const tape::RowTape& tape, const RowForm& form);
/// The memory that these kernels leave results in, in words of 8 bytes.
std::int64_t spread_words(const tape::RowTape& tape, std::int64_t rows, std::int64_t chunks);

/// The form of a kernel with the same arguments that keeps each row in the registers of a team of threads.
struct RegisterForm {
    int team;  // threads of a row: 8, 16, 32, or those of several warps, 64 to 512
    int access;  // contiguous elements that a thread reads at once; divides 64 / team, or 2 for several warps
    int steps;  // of 64 elements each, that a warp has of a row
    bool all;  // whether rows have exactly so many elements; else they may have fewer
    int threads;  // of a block, a multiple of the team
    int axes;
    std::vector<Along> operands;
    int blocks = 0;  // that a multiprocessor must have registers for; 0 for any number
};
std::string print(const tape::RowTape& tape, const RegisterForm& form);
/// The form of a kernel with the same arguments for rows of several chunks, on compute capability 9.0. A block takes
/// row after row, which the copy engine loads into shared memory. Inputs with a value for each element are contiguous
/// and start at multiples of 16 bytes. What is computed is not kept from phase to phase.
struct LongForm {
    int access;  // contiguous elements that a thread takes at once where nothing is in order; divides the columns
    int pieces;  // of a row, of kLongPiece columns each; the last one may be shorter
    int slots;  // buffers for pieces, at least as many as a row has
    int warps;  // that compute; one more warp loads
    int blocks;  // of a multiprocessor
    int axes;
    std::vector<Along> operands;
    int kept = 0;  // parts that a warp keeps in registers from the first phase to the last (keeps_parts)
};
inline constexpr int kLongPiece = 2048;
std::string print(const tape::RowTape& tape, const LongForm& form);
/// Whether the kernel of long rows can run the tape: no phase both sums in order and stores elements.
bool prints_long(const tape::RowTape& tape);
/// Whether parts may stay in registers: there are two phases that read one and the same input, the first for a
/// reduction in any order, the second for sums in order.
bool keeps_parts(const tape::RowTape& tape);

/// The form of a kernel with the same arguments for long rows of which a maximum is taken and then one sum
/// (rows_ahead.cuh). While a row is summed, the next one's maximum is found.
struct AheadForm {
    int parts;  // of a row, of kLongPiece columns each; the last one may be shorter
    int slots;  // buffers for parts
    int warps;  // that compute; one more loads, and another one computes the rows' own values
    int margin;  // parts by which a row's maximum is known before it is needed
    int axes;
};
std::string print(const tape::RowTape& tape, const AheadForm& form);
/// Whether this kernel can run the tape: of one input of bfloat16 the maximum, and then a sum of exponentials of the
/// input minus the maximum.
bool runs_ahead(const tape::RowTape& tape);

/// The most 32-bit registers that what is kept of an element takes at one time. A thread of a whole warp has 2 * steps
/// elements.
int kept_words(const tape::RowTape& tape, bool several_warps);

/// The form of a kernel that stores, for each output of the tape, the 64 lanes of a sum over each chunk of the rows
/// (column_sums.h). Its arguments are those of rows; `block_rows` is the number of chunks, and the outputs are where
/// the lanes go.
struct ColumnForm {
    int width;  // adjacent columns of a thread; divides the columns
    int lanes;  // of a block
    int axes;  // axes of the rows, once joined
    std::vector<Along> inputs;
};
std::string print(const tape::Tape& tape, const ColumnForm& form);

/// The form of a kernel with the same arguments that runs a row tape and sums of columns over its rows in one pass, on
/// compute capability 9.0. A block has one of the 64 lanes of a chunk, and the copy engine loads eight or sixteen of
/// its rows at a time. Each row is a warp's, as with rows in registers. Then threads of other warps add up columns of
/// their own, row after row. The operands are those of the rows, then, for each sum, where its lanes go, and then the
/// values of columns that the sums read.
struct RowSumsForm {
    struct Input {  // an input of the tape of sums
        enum class From : std::uint8_t { brought, row, columns } from;
        std::size_t at;  // index of the row tape's input, its register, or index among the values of columns
    };
    RegisterForm rows;  // of teams of one warp, whose steps are whole rows
    std::vector<bool> brought;  // which inputs of the rows are loaded into shared memory
    std::vector<Input> inputs;
    int teams, slots;  // rows of a turn, and buffers that hold a turn's rows each
    int row_registers, column_registers;  // registers of a thread that has a row, and of one that has columns
};
inline constexpr int kRowSumsColumnWarps = 4;
std::string print(const tape::RowTape& rows, const tape::Tape& sums, const RowSumsForm& form);

/// An instruction as an expression of its operands, whose names are in `registers`, in the types that memory holds
/// (tape.cuh) or as wide values (wide.cuh).
std::string expression(const tape::Instruction& code, const std::vector<std::string>& registers, bool wide = false);
/// The dtype's name in printed code, such as "DType::float32".
std::string type_name(DType type);
/// The type in which memory holds it: "Stored<DType::float32>".
std::string stored(DType type);

}  // namespace tenon::cuda
