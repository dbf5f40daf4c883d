// Products of 16-bit and 8-bit operands by a kernel of our own, whose sums go through a tape before they are stored. It
// serves where cuBLASLt has no such epilogue, or rounds in another place. Compute capability 9.0 (wgmma).
#pragma once

#include <string>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "product/epilogue.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// c[i, m, n] = tape(sum over k of a[i, m, k] b[i, n, k]) for each i of a batch. a and b are contiguous along k, c
/// along n; the other strides are in elements. 16-bit operands have one dtype, to which the float32 sums are rounded
/// before the tape. 8-bit ones may differ in sign, and their sums are exact modulo 2^32.
struct TiledProduct {
    DType a_type, b_type, out;
    std::int64_t m, n, k, batch;
    const void *a, *b;
    void* c;
    std::int64_t a_row, b_row, c_row;  // strides along m, n and m
    std::int64_t a_batch, b_batch, c_batch;
    const tape::Tape* tape = nullptr;  // its input 0 is the product; null to store the product itself
    struct Input {  // the tape's other inputs
        const void* data;
        DType type;
        std::int64_t row, column, batch;
    } inputs[product::kMaxEpilogueInputs] = {};
    bool b_across = false;  // whether b is contiguous along n instead; b_row is then its stride along k
};

/// Whether it is a product of a few rows of bytes. These have a kernel of their own (byte_rows.cu), for which b may be
/// contiguous along either axis.
bool is_few_rows(const TiledProduct& p);

/// The dtype that sums have before the tape.
DType product_type(const TiledProduct& p);

/// Why no kernel takes it on any device; empty where one does.
std::string declines(const TiledProduct& p);
/// Why no kernel takes it on this device; empty where one does.
std::string declines(const Gpu& gpu, const TiledProduct& p);
Unit unit_of(const TiledProduct& p);
void run(Gpu& gpu, const TiledProduct& p);

}  // namespace tenon::cuda
