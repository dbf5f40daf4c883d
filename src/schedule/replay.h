// Runs of an executable on a device that come back with the same memory: recorded once as a CUDA graph, then launched
// by one call. The arena keeps its address (Gpu::shared_arena), inputs and results of a training loop come back to
// theirs; numbers given at run time lie in memory of the executable's own and are copied there before each run.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "schedule/executable.h"

namespace tenon::schedule {

/// The tasks of an executable that give nothing but numbers to its arena, and where these lie.
struct Numbers {
    struct Place {
        std::uint32_t task, buffer;
        std::int64_t offset;  // bytes
    };
    std::vector<Place> all;  // by task
    std::shared_ptr<Storage> storage;
};

/// Of an executable on a device: made at its first run, and kept with it.
struct Replay;
std::shared_ptr<Replay> make_replay(const Executable& executable, std::span<Node* const> nodes, Device device);

/// Copies the numbers of this run to their memory.
const Numbers& put_numbers(Replay& replay, const Executable& executable, std::span<Node* const> nodes, Device device);

/// Calls `enqueue`, or launches what it enqueued when the addresses that a run reads and writes were these.
void run_again(Replay& replay, Device device, std::vector<const void*> addresses, const std::function<void()>& enqueue);

/// Graphs that were recorded, and launches of them, in this process.
struct ReplayStatistics {
    std::int64_t graphs, launches;
};
ReplayStatistics replay_statistics();

}  // namespace tenon::schedule
