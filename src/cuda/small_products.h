// Batches of small products on our own kernel, which reads every matrix once: where cuBLASLt is far above the memory's
// limit.
#pragma once

#include <string>

#include "base/view.h"
#include "cuda/device.h"

namespace tenon::cuda {

/// A product of matrices for each of outer * inner places, strides in elements: c (m, n) with its columns side by side,
/// a (m, k), b (k, n) each with one of its axes side by side.
struct SmallProducts {
    DType in, out;
    std::int64_t m, n, k;
    const std::byte *a, *b;
    std::byte* c;
    std::int64_t a_row, a_column, b_row, b_column, c_row;
    struct Batch {
        std::int64_t count = 1, a = 0, b = 0, c = 0;
    } outer, inner;
};

/// Why the kernel does not take it; empty where it does: bfloat16 or float16, into the same or float32, summed in
/// float32; m, n, k up to 128, not both n and k above 64; what is adjacent in memory in eights, at multiples of 16
/// bytes; enough products to fill the device.
std::string declines(const Gpu& gpu, const SmallProducts& p);
void run(Gpu& gpu, const SmallProducts& p);

}  // namespace tenon::cuda
