// The device code of primitives: what each runs by on a CUDA device.
#pragma once

#include <span>
#include <string>

#include "base/view.h"
#include "cuda/device.h"
#include "tensor/node.h"

namespace tenon::schedule {

/// Enqueues the primitive of the node on views of the device's memory; false, and nothing done, where it has no device
/// code (for these dtypes or sizes).
bool run_by_device_code(cuda::Gpu& gpu, const Node& node, std::span<const View> in, const View& out);

/// By what a node's device code computes it, and why not otherwise, for views of its operands without memory; empty
/// where there is one way alone.
std::string way_of_device_code(Device device, const Node& node, std::span<const View> in);

}  // namespace tenon::schedule
