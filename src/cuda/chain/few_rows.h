// Passes over few rows, for any extents and rank (few_rows.cu). A thread block, or a cluster of two, computes one group
// of the second product, and nothing goes from group to group.
#pragma once

#include "cuda/chain/chain.h"

namespace tenon::cuda::few_rows {

/// The kernel's form: the blocks of a group, and whether rows go through shared memory. All forms have the same bits.
struct Form {
    int split;
    bool staged;
};
Unit pass_unit(const ChainShape& shape, bool k_contiguous, const Form& form);

/// Whether the kernel takes a pass. That does not depend on the device.
bool takes(const Pass& pass);

/// Runs a pass that the kernel takes and that has rows.
void run(Gpu& gpu, const Pass& pass);

}  // namespace tenon::cuda::few_rows
