// A tape that a product runs on its sums before they are stored: bias, activation, residual, conversion.
#pragma once

#include <span>

#include "base/view.h"
#include "tape/tape.h"

namespace tenon::product {

/// The tape's input 0 is the product, rounded to that input's dtype (which must be one that the product may have); its
/// other inputs are `inputs`, views of the output's shape (strides of zero broadcast). Its one output is what is
/// stored, so the result has the same bits as the product stored and the tape run over it. The inputs do not overlap
/// the output, unless they are it.
struct Epilogue {
    const tape::Tape& tape;
    std::span<const View> inputs;
};

inline constexpr int kMaxEpilogueInputs = 8;

/// The same where the output's rows, columns and batch are each one axis.
struct LoweredEpilogue {
    const tape::Tape* tape = nullptr;  // or null: there is none
    int count = 0;
    struct Input {
        void* data;
        DType type;
        std::int64_t batch, row, column;  // strides
    } inputs[kMaxEpilogueInputs];
};

}  // namespace tenon::product
