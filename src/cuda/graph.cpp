#include "cuda/graph.h"

#include <algorithm>
#include <exception>

namespace tenon::cuda {
namespace {

constexpr unsigned kNonBlocking = 1;  // CU_STREAM_NON_BLOCKING
constexpr int kRelaxed = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED: memory is allocated and modules are loaded meanwhile

bool has_graphs(const Driver& d) {
    return d.begin_capture && d.end_capture && d.graph_nodes && d.graph_destroy && d.graph_instantiate &&
           d.graph_launch && d.graph_exec_destroy;
}

}  // namespace

std::unique_ptr<Graph> Graph::record(Gpu& gpu, const std::function<void()>& body) {
    const Driver& d = driver();
    if (!has_graphs(d) || Gpu::recorder_) return nullptr;
    const Gpu::Scope scope(gpu);
    Gpu::Recorder recorder{&gpu, nullptr, {}, {}};
    {
        const std::lock_guard lock(gpu.held_mutex_);
        if (!gpu.recording_stream_) check(d.stream_create(&gpu.recording_stream_, kNonBlocking), "cuStreamCreate");
        recorder.stream = gpu.recording_stream_;
        recorder.free = gpu.blocks_;
    }
    if (d.begin_capture(recorder.stream, kRelaxed) != 0) return nullptr;
    Gpu::recorder_ = &recorder;
    bool whole = true;
    try {
        body();
    } catch (const std::exception&) {  // it says so again where it is done
        whole = false;
    }
    Gpu::recorder_ = nullptr;
    GraphHandle recorded = nullptr;
    if (d.end_capture(recorder.stream, &recorded) != 0 || !recorded) return nullptr;
    std::unique_ptr<Graph> graph(new Graph(gpu));
    if (whole) {
        graph->blocks_ = std::move(recorder.used);
        whole = d.graph_nodes(recorded, nullptr, &graph->nodes_) == 0 &&
                d.graph_instantiate(&graph->executable_, recorded, 0) == 0;
    }
    d.graph_destroy(recorded);
    return whole ? std::move(graph) : nullptr;
}

Graph::~Graph() {
    if (!executable_ || !driver_absent().empty()) return;  // a forked child has no part in the parent's graphs
    ContextHandle popped;
    if (driver().push_context(gpu_.context()) != 0) return;  // the driver is shutting down
    driver().stream_synchronize(gpu_.stream_);  // it may be running
    driver().graph_exec_destroy(executable_);
    driver().pop_context(&popped);
}

bool Graph::launch() {
    std::vector<std::shared_ptr<Storage>> alive;
    for (const auto& block : blocks_)
        if (!alive.emplace_back(block.lock())) return false;
    const Gpu::Scope scope(gpu_);
    check(driver().graph_launch(executable_, gpu_.stream_), "cuGraphLaunch");
    return true;
}

}  // namespace tenon::cuda
