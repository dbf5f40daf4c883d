// Passes of few rows, of any block and rank (few_rows.cu): a block of threads, or a cluster of two, for each group of
// the second product, and nothing goes from group to group.
#pragma once

#include "cuda/chain/chain.h"

namespace tenon::cuda::few_rows {

/// The kernel's form; all have the same bits: blocks of a group, and whether rows go through shared memory.
struct Form {
    int split;
    bool staged;
};
Unit pass_unit(const ChainShape& shape, bool k_contiguous, const Form& form);

/// Whether the kernel takes a pass, on any device.
bool takes(const Pass& pass);

/// For a pass that it takes and that has rows.
void run(Gpu& gpu, const Pass& pass);

}  // namespace tenon::cuda::few_rows
