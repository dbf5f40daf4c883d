// What the evaluator needs of devices: memory, values brought to where they are read, and work sent there. The CPU is
// one of them; the others are reached here and nowhere else.
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
/// Memory for the intermediates of one run. A device's keeps its address, and is the next run's too.
std::shared_ptr<Storage> arena_on(Device device, std::int64_t bytes);
void fill_bytes(Storage& storage, unsigned char value);

/// The elements in memory of `device`, row-major where they had to move.
Array move_to(const Array& array, Device device);

/// A computed node's value as `device` reads it: a node without a place of its own may have been computed elsewhere,
/// and then keeps the copy. The caller holds the evaluator's lock.
const Array& value_on(const Node& node, Device device);

/// The constants of an executable that was compiled on the host.
void place_constants(Executable& executable, Device device);

/// What of the options the device's back end takes.
Options options_on(Device device, Options options);

/// What is timed is waited for.
void wait_for(Device device);

/// Enqueues one node's computation, and one task's. Operands and results are in the device's memory. A primitive
/// without device code is computed on the host, from copies and back, which a warning says once.
void run_node(Device device, const Node& node, std::span<const View> in, const View& out);
/// The primitives of which that warning has been given.
std::vector<std::string> computed_on_host();
void run_on_device(Device device, const Task& task, const Node& node, std::span<const View> in,
                   std::span<const View> out);

}  // namespace tenon::schedule
