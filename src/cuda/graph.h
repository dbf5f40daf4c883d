// CUDA graphs: work that is enqueued again and again with the same addresses is recorded once, and then launched by one
// call, at a few microseconds of the host for all of it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "cuda/device.h"

namespace tenon::cuda {

class Graph {
  public:
    /// Records what `body` enqueues on the device from this thread: kernels, copies on the device, fills. Nothing of it
    /// runs. What `body` allocates is taken from blocks that graphs share and gives it back to them. Null where the
    /// driver has no graphs, and where something of `body` cannot be recorded (a copy of the host's memory, waiting),
    /// or it throws.
    static std::unique_ptr<Graph> record(Gpu& gpu, const std::function<void()>& body);
    ~Graph();
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    /// Enqueues it all, in the device's stream. False, and nothing done, where the memory that it uses between its
    /// nodes has been given back (Gpu::trim_memory, or memory was short): it is good for nothing then.
    bool launch();
    std::size_t nodes() const { return nodes_; }

  private:
    explicit Graph(Gpu& gpu) : gpu_(gpu) {}

    Gpu& gpu_;
    GraphExecHandle executable_ = nullptr;
    std::vector<std::weak_ptr<Storage>> blocks_;
    std::size_t nodes_ = 0;
};

}  // namespace tenon::cuda
