// Passes of few rows, of any block and rank (few_rows.cu): a block of threads for each group of the second product, and
// nothing goes between them.
#pragma once

#include "cuda/chain/chain.h"

namespace tenon::cuda::few_rows {

Unit pass_unit(const ChainShape& shape, bool k_contiguous);

/// Whether it takes a pass, on any device.
bool takes(const Pass& pass);

/// Of a pass that it takes and that has rows.
void run(Gpu& gpu, const Pass& pass);

}  // namespace tenon::cuda::few_rows
