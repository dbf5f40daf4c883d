// What the evaluator needs of devices: memory, values moved to where they are read, and work enqueued there. The CPU is
// one of the devices; the others are reached only here.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/storage.h"
#include "schedule/executable.h"
#include "schedule/options.h"
#include "tensor/node.h"

namespace tenon::schedule {

std::shared_ptr<Storage> allocate(Device device, std::int64_t bytes);
/// Memory for the intermediates of one run. A device's arena keeps its address and is reused by the next run.
std::shared_ptr<Storage> arena_on(Device device, std::int64_t bytes);
void fill_bytes(Storage& storage, unsigned char value);

/// The elements in memory of `device`, row-major if they had to move.
Array move_to(const Array& array, Device device);

/// A computed node's value as `device` reads it. A node without a device of its own may have been computed elsewhere,
/// and then keeps the copy. The caller holds the evaluator's lock.
const Array& value_on(const Node& node, Device device);

/// Moves the constants of an executable that was compiled on the host.
void place_constants(Executable& executable, Device device);

/// The options that the device's back end supports.
Options options_on(Device device, Options options);

/// Waits until the device has done its work, so that a timing includes it.
void wait_for(Device device);

/// Enqueue the computation of one node, and of one task. Operands and results are in the device's memory. A primitive
/// without device code is computed on the host, with copies there and back, and a warning is given once.
void run_node(Device device, const Node& node, std::span<const View> in, const View& out);
/// The primitives for which that warning has been given.
std::vector<std::string> computed_on_host();
void run_on_device(Device device, const Task& task, const Node& node, std::span<const View> in,
                   std::span<const View> out);

}  // namespace tenon::schedule
