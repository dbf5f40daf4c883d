// A tape that a product runs on the elements of an operand as it reads them: scale, bias, activation, mask, conversion.
#pragma once

#include <cstdint>
#include <span>

#include "base/view.h"
#include "tape/tape.h"

namespace tenon::product {

/// The tape's input 0 is the stored operand, in its own dtype; its other inputs are `inputs`, views of the operand's
/// shape (strides of zero broadcast). Its one output is what is multiplied and has the dtype that the product takes, so
/// the result has the same bits as the tape run over the whole operand and then the product.
struct Prologue {
    const tape::Tape& tape;
    std::span<const View> inputs;

    DType result() const { return tape::type_of(tape, tape.outputs.at(0)); }
};

/// Of a product's operands; null for those that are read as they are.
struct Prologues {
    const Prologue *a = nullptr, *b = nullptr;
};

/// The stored operand among them.
inline constexpr int kMaxPrologueInputs = 9;

/// The same where batch, lines (rows of A, columns of B) and summed elements are each one axis.
struct LoweredPrologue {
    const tape::Tape* tape = nullptr;
    int count = 0;
    struct Input {
        void* data;
        DType type;
        std::int64_t batch, line, k;  // strides
    } inputs[kMaxPrologueInputs];
};

}  // namespace tenon::product
