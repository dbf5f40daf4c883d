// Batches of small products by a kernel of our own, which reads every matrix once. cuBLASLt takes much longer for them
// than memory's bandwidth demands.
#pragma once

#include <string>

#include "base/view.h"
#include "cuda/device.h"

namespace tenon::cuda {

/// outer * inner products of matrices, with strides in elements. c (m, n) is contiguous along n; a (m, k) and b (k, n)
/// are each contiguous along one of their axes.
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

/// Why the kernel does not take it; empty where it does. It takes bfloat16 or float16, sums in float32, and gives the
/// same dtype or float32. m, n and k are at most 128, and not both n and k above 64. Contiguous axes have multiples of
/// 8 elements at multiples of 16 bytes. There must be enough products to fill the device.
std::string declines(const Gpu& gpu, const SmallProducts& p);
void run(Gpu& gpu, const SmallProducts& p);

}  // namespace tenon::cuda
