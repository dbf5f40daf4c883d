// A tape that runs on the elements of an operand as the product reads them: scale, bias, activation, mask, conversion.
#pragma once

#include <cstdint>
#include <span>

#include "base/view.h"
#include "tape/tape.h"

namespace tenon::product {

/// The tape's input 0 is the stored operand, in its own dtype. Its other inputs are `inputs`, views of the operand's
/// shape (strides of zero broadcast). Its single output is multiplied, and has the dtype that the product takes. So the
/// result has the bits of running the tape over the whole operand and then the product.
struct Prologue {
    const tape::Tape& tape;
    std::span<const View> inputs;

    DType result() const { return tape::type_of(tape, tape.outputs.at(0)); }
};

/// Of a product's two operands; null if the operand is read as it is.
struct Prologues {
    const Prologue *a = nullptr, *b = nullptr;
};

/// Including the stored operand.
inline constexpr int kMaxPrologueInputs = 9;

/// The same if batch, lines (rows of A, columns of B) and summed elements are one axis each.
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
