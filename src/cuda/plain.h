// Contractions by a kernel with one thread for each element: for every dtype that can be contracted, on every device.
#pragma once

#include "base/view.h"
#include "cuda/device.h"
#include "product/contract.h"

namespace tenon::cuda {

/// out = the contraction of a and b, all of one dtype; sums in float32 or wider, exact for integers modulo 2^bits.
void contract_plainly(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels);

}  // namespace tenon::cuda
