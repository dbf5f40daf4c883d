// Layers of 32 groups of 32 with many rows. The rows, or the sums of the gradients, stay in a thread block, and nothing
// goes from block to block (streamed.cu, streamed_gradients.cu).
#pragma once

#include "cuda/chain/chain.h"

namespace tenon::cuda::streamed {

Unit pass_unit(const ChainShape& shape);

/// Whether streamed.cu is taken: it has the same bits as stationary.cu, and is faster for enough rows.
bool takes(const ChainShape& shape);

/// Runs a pass that keeps nothing.
void run(Gpu& gpu, const Pass& pass);

Unit gradients_unit(DType dtype);

/// Whether the layer's gradients are summed by these kernels, and not by a cluster. The sums' order, and so the bits,
/// depend on that.
bool takes_gradients(const ChainShape& shape);

/// Runs gradients that are not declined and have rows.
void run(Gpu& gpu, const CoreGradients& gradients);

}  // namespace tenon::cuda::streamed
