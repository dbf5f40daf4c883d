// CUDA graphs: work that is enqueued repeatedly with the same addresses is recorded once, and then launched by one
// call, which costs the host a few microseconds in all.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "cuda/device.h"
#include "cuda/driver.h"

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
    friend class Branches;
    explicit Graph(Gpu& gpu) : gpu_(gpu) {}
    static StreamHandle stream_of(Gpu& gpu, std::size_t branch);

    Gpu& gpu_;
    GraphExecHandle executable_ = nullptr;
    std::vector<std::weak_ptr<Storage>> blocks_;
    std::size_t nodes_ = 0;
};

/// Branches of the graph that this thread records, whose work may run at the same time: what is enqueued goes to the
/// one that was entered last, after all that was enqueued there before. Branch 0 is what is recorded without any.
class Branches {
  public:
    /// At most `count` of them.
    Branches(Gpu& gpu, std::size_t count);
    ~Branches();
    Branches(const Branches&) = delete;
    Branches& operator=(const Branches&) = delete;

    void enter(std::size_t branch);
    /// The work enqueued so far in the branch that was entered last; what waits for it, in another branch, comes after
    /// it.
    std::size_t mark();
    void wait(std::size_t mark);
    /// Enters branch 0, and all others end before what is enqueued from now on. Without it the graph is none.
    void join();

  private:
    Gpu& gpu_;
    std::vector<EventHandle> marks_;
    std::vector<bool> begun_;
};

}  // namespace tenon::cuda
