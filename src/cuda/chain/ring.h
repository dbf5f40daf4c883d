// The kernels of chain.h for 128 groups of 128, whose cores fill the device. Each of 128 thread blocks keeps the cores
// of one group of each product, and the intermediate goes through a ring in global memory (ring.cuh). chain.h says what
// the functions do.
#pragma once

#include "cuda/chain/chain.h"

namespace tenon::cuda::ring {

constexpr int kBlock = 128;

Unit pass_unit(const ChainShape& shape, bool k_contiguous, bool keep, const DType* gradient);
Unit gradient_unit(const ChainShape& shape, DType dtype);
Unit unpack_unit(const ChainShape& shape);

std::int64_t kept_bytes(const ChainShape& shape);

/// Runs a pass that is not declined and has rows.
void run(Gpu& gpu, const Pass& pass, bool k_contiguous);
void run(Gpu& gpu, const CoreGradient& gradient);
void unpack(Gpu& gpu, const ChainShape& shape, const void* kept, void* to, std::int64_t row_stride,
            const CoreStrides& z);

}  // namespace tenon::cuda::ring
