// Chains on a GPU: which of a graph's pairs of products its kernels take, and the form in which they leave the
// intermediate for the gradients of the cores.
#pragma once

#include <span>
#include <vector>

#include "product/chain/chain.h"
#include "schedule/build.h"
#include "schedule/executable.h"

namespace tenon::cuda {
class Gpu;
}

namespace tenon::schedule {

/// Why the device does not run the pair in one pass; null if it does.
const char* chain_declines(Device device, const product::Chain& chain);

/// If all readers of a chain's intermediate are gradients of cores whose kernels compute it again, it is not kept: the
/// gradients become tasks on what the chain reads. Two gradients of one layer become one task if one kernel gives both.
/// If a pass gives a gradient beside its result, the gradient becomes a result of the chain's task, and the other
/// operand its last operand.
void recompute_intermediates(const Program& program, std::vector<Draft>& drafts);

/// An intermediate whose readers are all gradients of cores stays in the kernels' own form: marks the tasks that write
/// and read it (Task::packed).
void pack_intermediates(Executable& executable, const Graph& graph);

/// Computes the kernels' arguments of each chain, except addresses, once instead of in each run (Task::matched).
void match_chains(Executable& executable);

/// Copies operands and results whose addresses are not multiples of 16, which the kernels require.
void run_chain(cuda::Gpu& gpu, const Task& task, std::span<const View> in, std::span<const View> out);
/// The gradients of one or two cores. The operands of each are what the first product reads, its core, and the
/// gradient's other operand.
void run_core_gradients(cuda::Gpu& gpu, const Task& task, std::span<const View> in, std::span<const View> out);
/// A product that reads a packed intermediate.
void run_core_gradient(cuda::Gpu& gpu, const Task& task, std::span<const View> in, const View& out);

}  // namespace tenon::schedule
