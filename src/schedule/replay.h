// Runs of an executable on a device that recur with the same memory are recorded once as a CUDA graph, then launched by
// one call. The arena keeps its address (Gpu::shared_arena), and inputs and results of a training loop return to
// theirs. Numbers that are given at run time are in memory of the executable's own, and are copied there before each
// run.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "schedule/executable.h"

namespace tenon::schedule {

/// The tasks of an executable that only write numbers to its arena, and where these are.
struct Numbers {
    struct Place {
        std::uint32_t task, buffer;
        std::int64_t offset;  // bytes
    };
    std::vector<Place> all;  // by task
    std::shared_ptr<Storage> storage;
};

/// For an executable on a device: made in its first run, and kept with it.
struct Replay;
std::shared_ptr<Replay> make_replay(const Executable& executable, std::span<Node* const> nodes, Device device);

/// Copies the numbers of this run to their memory, unless they are there already.
const Numbers& put_numbers(Replay& replay, const Executable& executable, std::span<Node* const> nodes, Device device);

/// Calls `enqueue`, or launches what it enqueued when a run last read and wrote these addresses.
void run_again(Replay& replay, Device device, std::vector<const void*> addresses, const std::function<void()>& enqueue);

/// Graphs recorded, and launches of them, in this process.
struct ReplayStatistics {
    std::int64_t graphs, launches;
};
ReplayStatistics replay_statistics();

}  // namespace tenon::schedule
