// Tapes with reductions of rows (softmax, layer_norm, their derivatives). A row is visited once for each time that
// something depends on its reductions, and stays in cache in between. A reduction has the order and the bits of
// tape::reduce over the last axis, an instruction those of tape::run.
#pragma once

#include "tape/tape.h"

namespace tenon::tape {

/// Registers are numbered as in Tape. A register is either of elements (a value for each element of each row) or of
/// rows (a value for each row).
struct RowTape {
    struct Input {
        DType type;
        bool per_row;
    };
    enum class Kind : std::uint8_t {
        apply,  // the instruction, on registers that are all of elements or all of rows
        reduce,  // operand 0, of elements, to one value for each row
        repeat,  // operand 0, of rows, repeated for the elements
    };
    struct Code {
        Kind kind;
        bool per_row;  // whether the result is of rows
        Reduction reduction;
        Instruction instruction;  // for reduce and repeat: type, result and operand 0
    };
    std::vector<Input> inputs;
    std::vector<Code> code;
    std::vector<std::uint8_t> outputs;  // results of code, not inputs
};

/// Inputs and outputs of elements have the shape (rows..., columns), those of rows the shape (rows...). A row has at
/// least one column. An output may share the memory of an input with the same layout if may_overwrite allows it;
/// otherwise it must not overlap one.
void run_rows(const RowTape& tape, std::span<const View> inputs, std::span<const View> outputs,
              CachedPlan* kept = nullptr);

/// Whether every read of the input precedes the write of the output, element by element.
bool may_overwrite(const RowTape& tape, std::size_t input, std::size_t output);

std::string to_string(const RowTape& tape);

}  // namespace tenon::tape
