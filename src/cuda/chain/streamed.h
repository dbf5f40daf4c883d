// Layers of blocks of 32 and many rows: the rows, or the sums, stay in a block, and nothing goes from block to block
// (streamed.cu, streamed_gradients.cu).
#pragma once

#include "cuda/chain/chain.h"

namespace tenon::cuda::streamed {

Unit pass_unit(const ChainShape& shape);

/// Whether there are enough rows for it to be the faster of two kernels with the same bits.
bool takes(const ChainShape& shape);

/// For a pass that keeps nothing.
void run(Gpu& gpu, const Pass& pass);

Unit gradients_unit(DType dtype);

/// Whether its gradients are the sums of these kernels, and not those of a cluster: this decides their bits.
bool takes_gradients(const ChainShape& shape);

/// For gradients that are not declined and have rows.
void run(Gpu& gpu, const CoreGradients& gradients);

}  // namespace tenon::cuda::streamed
