// Tapes as CUDA C++. A kernel depends on the structure alone: the tape, the number of axes left when those that run
// together are one, which operands lie side by side along the last of them, and how many elements a thread takes;
// extents, strides and addresses are its arguments.
#pragma once

#include <string>
#include <vector>

#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// How an operand lies along the last axis.
enum class Along : char { contiguous = 'c', repeated = 'r', strided = 's' };

struct LoopForm {
    int rank;  // at least 1
    int width;  // elements a thread
    bool wide_index;  // 64-bit counting
    std::vector<Along> operands;  // outputs, then inputs
};

inline constexpr int kLoopThreads = 256;

/// A kernel `run(Parameters)`; the layout of Parameters is that of LoopArguments.
std::string print(const tape::Tape& tape, const LoopForm& form);

/// Bytes of a loop kernel's argument: {int64 extents[rank]; int64 groups; struct {void* data; int64 strides[rank]}
/// operands[]}. The last extent is the number of elements, the others count groups' outer axes.
struct RowForm {
    int width;  // elements a thread takes of a row at a time
    int threads;
    int axes;  // of the rows
    bool one_row;  // a block takes one row at a time, in pieces; else whole rows
    bool keep;  // what a later pass reads again stays in shared memory; else it is read and computed again
    std::vector<Along> operands;  // outputs, then inputs; those of rows are `repeated`
};
std::string print(const tape::RowTape& tape, const RowForm& form);

/// The instruction as an expression over registers named r0, r1, ...
std::string expression(const tape::Instruction& code, const std::vector<std::string>& registers);
/// "DType::float32".
std::string type_name(DType type);

}  // namespace tenon::cuda
