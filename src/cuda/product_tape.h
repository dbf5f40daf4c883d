// A product whose sums go through a tape in the kernel that computes them, so that the product is not stored and read
// again. The bits are those of rounding and storing the product, and then running the tape over it.
#pragma once

#include <span>
#include <string>

#include "base/view.h"
#include "cuda/device.h"
#include "product/contract.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// The tape's input 0 is the product, whose dtype is `product`. Its other inputs are `inputs`, views of out's shape.
struct ProductTape {
    const View &a, &b, &out;
    const product::Labels& labels;
    DType product;
    const tape::Tape& tape;
    std::span<const View> inputs;
    std::uint32_t zeros = 0;  // bit i is set where inputs[i] is 0 for all elements
    bool tf32 = false;  // float32 operands are read as TF32
};

/// Why the product is stored and a loop runs the tape over it; empty if one kernel does both. Reads no elements.
std::string declines(const ProductTape& p);
/// Whether a product that is not declined runs by our kernel, on devices that have it, and not by cuBLASLt.
bool is_ours(const ProductTape& p);
/// Runs it in one kernel, cuBLASLt's with an epilogue or ours. False, with nothing done, if that cannot be.
bool run(Gpu& gpu, const ProductTape& p);

/// out = the contraction of int8 or uint8 operands by our kernel, summed in int32, and modulo 2^bits of out's dtype.
/// Operands whose strides the kernel does not take are copied first. False, with nothing done, on devices without it.
bool contract_bytes(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels);

}  // namespace tenon::cuda
