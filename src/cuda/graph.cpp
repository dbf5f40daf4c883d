#include "cuda/graph.h"

#include <algorithm>
#include <exception>

namespace tenon::cuda {
namespace {

constexpr unsigned kNonBlocking = 1;  // CU_STREAM_NON_BLOCKING
constexpr unsigned kUntimed = 2;  // CU_EVENT_DISABLE_TIMING
constexpr int kRelaxed = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED: memory may be allocated and modules loaded meanwhile

bool has_graphs(const Driver& d) {
    return d.begin_capture && d.end_capture && d.graph_nodes && d.graph_destroy && d.graph_instantiate &&
           d.graph_launch && d.graph_exec_destroy;
}

}  // namespace

StreamHandle Graph::stream_of(Gpu& gpu, std::size_t branch) {
    const std::lock_guard lock(gpu.held_mutex_);
    while (gpu.recording_streams_.size() <= branch) {
        StreamHandle made = nullptr;
        check(driver().stream_create(&made, kNonBlocking), "cuStreamCreate");
        gpu.recording_streams_.push_back(made);
    }
    return gpu.recording_streams_[branch];
}

std::unique_ptr<Graph> Graph::record(Gpu& gpu, const std::function<void()>& body) {
    const Driver& d = driver();
    if (!has_graphs(d) || Gpu::recorder_) return nullptr;
    const Gpu::Scope scope(gpu);
    Gpu::Recorder recorder{&gpu, {stream_of(gpu, 0)}, {}, {{}}, {false}, {}};
    {
        const std::lock_guard lock(gpu.held_mutex_);
        recorder.fresh = gpu.blocks_;
    }
    if (d.begin_capture(recorder.streams[0], kRelaxed) != 0) return nullptr;
    Gpu::recorder_ = &recorder;
    bool whole = true;
    try {
        body();
    } catch (const std::exception&) {  // The work then runs without a graph, and throws again.
        whole = false;
    }
    Gpu::recorder_ = nullptr;
    GraphHandle recorded = nullptr;
    if (d.end_capture(recorder.streams[0], &recorded) != 0 || !recorded) return nullptr;
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
    if (!executable_ || !driver_absent().empty()) return;  // A forked child does not own the parent's graphs.
    ContextHandle popped;
    if (driver().push_context(gpu_.context()) != 0) return;  // the driver is shutting down
    driver().stream_synchronize(gpu_.stream_);  // The graph may be running.
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

Branches::Branches(Gpu& gpu, std::size_t count) : gpu_(gpu), begun_(count) {
    Gpu::Recorder& r = *Gpu::recorder_;
    for (std::size_t i = r.streams.size(); i < count; ++i) {
        r.streams.push_back(Graph::stream_of(gpu, i));
        r.free.emplace_back();
        r.joins.push_back(false);
    }
    begun_[0] = true;
    mark();
}

Branches::~Branches() {
    for (const EventHandle e : marks_) driver().event_destroy(e);
}

void Branches::enter(std::size_t branch) {
    Gpu::recorder_->branch = branch;
    Gpu::recorder_->joins[branch] = false;
    if (begun_[branch]) return;
    begun_[branch] = true;
    wait(0);
}

std::size_t Branches::mark() {
    EventHandle& e = marks_.emplace_back(nullptr);
    check(driver().event_create(&e, kUntimed), "cuEventCreate");
    check(driver().event_record(e, gpu_.stream()), "cuEventRecord");
    return marks_.size() - 1;
}

void Branches::wait(std::size_t mark) {
    check(driver().stream_wait(gpu_.stream(), marks_[mark], 0), "cuStreamWaitEvent");
    Gpu::recorder_->joins[gpu_.branch()] = true;
}

void Branches::join() {
    for (std::size_t i = 1; i < begun_.size(); ++i) {
        if (!begun_[i]) continue;
        enter(i);
        const std::size_t end = mark();
        enter(0);
        wait(end);
    }
    enter(0);
}

}  // namespace tenon::cuda
