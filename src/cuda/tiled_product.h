// Products of 16-bit and 8-bit operands on a kernel of our own, whose sums go through a tape before they are stored:
// what cuBLASLt's epilogues would round otherwise, or do not know. Compute capability 9.0 (wgmma).
#pragma once

#include <string>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "product/epilogue.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// c[i, m, n] = tape(sum over k of a[i, m, k] b[i, n, k]) for each i of a batch. What is summed is adjacent in memory
/// in both operands, columns in the result; the other strides are in elements. 16-bit operands are of one dtype, which
/// the float32 sums are rounded to before the tape; 8-bit ones may differ in sign, and sums are exact modulo 2^32.
struct TiledProduct {
    DType a_type, b_type, out;
    std::int64_t m, n, k, batch;
    const void *a, *b;
    void* c;
    std::int64_t a_row, b_row, c_row;  // b_row: from column to column of the result
    std::int64_t a_batch, b_batch, c_batch;
    const tape::Tape* tape = nullptr;  // input 0 is the product; or null: it is stored
    struct Input {  // the tape's other inputs
        const void* data;
        DType type;
        std::int64_t row, column, batch;
    } inputs[product::kMaxEpilogueInputs] = {};
    bool b_across = false;  // columns are adjacent in memory in b, and b_row is from one summed element to the next
};

/// Whether it is a few rows of bytes, which a kernel of its own takes, with b as it lies.
bool is_few_rows(const TiledProduct& p);

/// The dtype that sums have before the tape.
DType product_type(const TiledProduct& p);

/// Why the kernel does not take it, on any device; empty where it does.
std::string declines(const TiledProduct& p);
/// The same, and of this device.
std::string declines(const Gpu& gpu, const TiledProduct& p);
Unit unit_of(const TiledProduct& p);
void run(Gpu& gpu, const TiledProduct& p);

}  // namespace tenon::cuda
