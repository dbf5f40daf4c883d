// A tape that runs on a product's sums before they are stored: bias, activation, residual, conversion.
#pragma once

#include <span>

#include "base/view.h"
#include "tape/tape.h"

namespace tenon::product {

/// The tape's input 0 is the product, rounded to that input's dtype (one that the product may have). Its other inputs
/// are `inputs`, views of the output's shape (strides of zero broadcast). Its single output is stored. So the result
/// has the bits of storing the product and running the tape over it. No input overlaps the output, unless it is the
/// same memory in the same layout.
struct Epilogue {
    const tape::Tape& tape;
    std::span<const View> inputs;
};

inline constexpr int kMaxEpilogueInputs = 8;

/// The same for an output whose rows, columns and batch are one axis each.
struct LoweredEpilogue {
    const tape::Tape* tape = nullptr;  // null if there is none
    int count = 0;
    struct Input {
        void* data;
        DType type;
        std::int64_t batch, row, column;  // strides
    } inputs[kMaxEpilogueInputs];
};

}  // namespace tenon::product
