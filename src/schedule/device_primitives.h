// The device code of primitives: how each one runs on a CUDA device.
#pragma once

#include <span>
#include <string>

#include "base/view.h"
#include "cuda/device.h"
#include "schedule/executable.h"
#include "tape/tape.h"
#include "tensor/node.h"

namespace tenon::schedule {

/// Enqueues the node's primitive on views of the device's memory. Returns false, having done nothing, if it has no
/// device code (for these dtypes or sizes).
bool run_by_device_code(cuda::Gpu& gpu, const Node& node, std::span<const View> in, const View& out);

/// Marks the constants 0 that the tapes of products read (Task::zeros); relu is recognised by them. Constants are on
/// the host.
void mark_zeros(Executable& executable);

/// Enqueues the contraction and its tape as one kernel, with operands `in`, then `more`. Returns false, having done
/// nothing, if no kernel does both.
bool run_with_tape(cuda::Gpu& gpu, const Node& node, std::span<const View> in, const tape::Tape& tape,
                   std::span<const View> more, const View& out, std::uint32_t zeros);
/// Why that is not one kernel, for views without memory; empty if it is.
std::string tape_declines(const Node& node, std::span<const View> in, const tape::Tape& tape,
                          std::span<const View> more, const View& out, std::uint32_t zeros);

/// Whether that is one kernel of our own tiles, on devices that have them, unless something declines it.
bool is_in_tiles(const Node& node, std::span<const View> in, const tape::Tape& tape, std::span<const View> more,
                 const View& out, std::uint32_t zeros);

/// How a node's device code computes it, and why not otherwise, for views of its operands without memory; empty if
/// there is only one way.
std::string way_of_device_code(Device device, const Node& node, std::span<const View> in);

}  // namespace tenon::schedule
