// Chains on a GPU: which of a graph's pairs of products its kernels take, and the form in which they leave the
// intermediate to the gradients of the cores.
#pragma once

#include <span>

#include "product/chain/chain.h"
#include "schedule/executable.h"

namespace tenon::cuda {
class Gpu;
}

namespace tenon::schedule {

/// Why the device does not run the pair in one pass; null where it does.
const char* chain_declines(Device device, const product::Chain& chain);

/// An intermediate whose readers are all gradients of cores stays in the kernels' own form: marks the tasks that write
/// and read it so (Task::packed).
void pack_intermediates(Executable& executable, const Graph& graph);

void run_chain(cuda::Gpu& gpu, const Task& task, std::span<const View> in, std::span<const View> out);
/// A product that reads a packed intermediate.
void run_core_gradient(cuda::Gpu& gpu, const Task& task, const Node& node, std::span<const View> in, const View& out);

}  // namespace tenon::schedule
