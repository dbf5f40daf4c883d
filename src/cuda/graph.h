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
    /// Records the kernels, copies on the device and fills that `body` enqueues from this thread; none of them runs.
    /// The memory that `body` allocates is taken from, and returns to, blocks that graphs share. Null if the driver has
    /// no graphs, if something in `body` cannot be recorded (a copy of the host's memory, waiting), or if it throws.
    static std::unique_ptr<Graph> record(Gpu& gpu, const std::function<void()>& body);
    ~Graph();
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    /// Enqueues the graph in the device's stream. Returns false, with nothing done, if the memory that it uses between
    /// its nodes has been given back (by Gpu::trim_memory, or because memory was short): then it can never run again.
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

/// Branches of the graph that this thread records, whose work may run at the same time. Work goes to the branch that
/// was entered last, after all work that was enqueued there before. Branch 0 has the work that is recorded without
/// branches.
class Branches {
  public:
    /// At most `count` of them.
    Branches(Gpu& gpu, std::size_t count);
    ~Branches();
    Branches(const Branches&) = delete;
    Branches& operator=(const Branches&) = delete;

    void enter(std::size_t branch);
    /// A point after the work enqueued so far in the branch that was entered last. Work that waits for it in another
    /// branch comes after it.
    std::size_t mark();
    void wait(std::size_t mark);
    /// Enters branch 0; work enqueued from now on comes after all branches. Without this call the graph cannot be
    /// built.
    void join();

  private:
    Gpu& gpu_;
    std::vector<EventHandle> marks_;
    std::vector<bool> begun_;
};

}  // namespace tenon::cuda
