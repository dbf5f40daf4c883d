#include <cstring>
#include <stdexcept>

#include "base/text.h"
#include "profile/recorder.h"
#include "schedule/chain.h"
#include "schedule/evaluate.h"
#include "schedule/executable.h"
#include "schedule/plan.h"
#include "schedule/prologue.h"
#include "tenon/error.h"

namespace tenon::schedule {
namespace {

struct Memory {
    const Graph& graph;
    const Executable& executable;
    std::shared_ptr<Storage> arena;
    std::vector<std::shared_ptr<Storage>> own;

    const std::shared_ptr<Storage>& storage(const Location& l) const {
        switch (l.in) {
            case Location::In::leaf:
                return graph.nodes[l.index]->value()->storage;
            case Location::In::constant:
                return executable.constants[l.index];
            case Location::In::arena:
                return arena;
            default:
                return own[l.index];
        }
    }
    /// Of what outlives this run.
    Storage* owner(const Location& l) const {
        return l.in == Location::In::leaf || l.in == Location::In::constant ? storage(l).get() : nullptr;
    }
    void* address(const Location& l) const {
        void* base = l.in == Location::In::leaf ? graph.nodes[l.index]->value()->view.data : storage(l)->data();
        return static_cast<std::byte*>(base) + l.offset;
    }
};

Memory allocate(const Executable& e, const Graph& graph, bool poison) {
    Memory m{graph, e, nullptr, {}};
    if (!e.buffers.empty()) {  // which may all be empty
        m.arena = Storage::allocate(e.arena_bytes);
        if (poison) std::memset(m.arena->data(), 0xFF, static_cast<std::size_t>(e.arena_bytes));
    }
    for (const std::int64_t bytes : e.own) {
        m.own.push_back(Storage::allocate(bytes));
        if (poison) std::memset(m.own.back()->data(), 0xFF, static_cast<std::size_t>(bytes));
    }
    return m;
}

/// Views of operands, then of results.
void bind(std::vector<View>& views, const Task& t, const Memory& m) {
    views.clear();
    for (const auto* list : {&t.in, &t.out})
        for (const Operand& o : *list) {
            views.push_back(o.view);
            views.back().data = m.address(o.at);
            if (t.kind == Task::Kind::product || t.kind == Task::Kind::kernel) views.back().owner = m.owner(o.at);
        }
}

void run_task(const Task& t, const Node& n, std::span<const View> views) {
    const auto in = views.first(t.in.size()), out = views.subspan(t.in.size());
    switch (t.kind) {
        case Task::Kind::kernel:
            return (n.primitive->run ? n.primitive->run : n.primitive->reference)(n, in, out[0]);
        case Task::Kind::tape:
            return tape::run(t.tape, in, out, &t.kept);
        case Task::Kind::rows:
            return tape::run_rows(t.rows, in, out, &t.kept);
        case Task::Kind::product:
            if (t.prologues) return run_with_prologues(t, in, out[0]);
            return n.primitive->run_with_epilogue(n, in.first(t.product_operands), t.tape,
                                                  in.subspan(t.product_operands), out[0]);
        case Task::Kind::chain:
            return with_chain(t, in, out[0], [](const product::Chain& c) { product::run(c); });
    }
}

void run_and_time(const Task& t, const Graph& graph, std::span<const View> views) {
    const Node& n = *graph.nodes[t.node];
    if (!profile::active.load(std::memory_order_relaxed)) return run_task(t, n, views);
    const auto start = std::chrono::steady_clock::now();
    run_task(t, n, views);
    const auto time = std::chrono::steady_clock::now() - start;
    std::vector<const Node*> nodes;
    for (const std::uint32_t i : t.nodes) nodes.push_back(graph.nodes[i]);
    profile::add(nodes, t.cost, time);
}

/// Gives the held nodes their values. They are kept while the inputs of others go, which may be the last to refer to
/// them.
void publish(const Executable& e, const Graph& graph, const Memory& m) {
    for (const Result& r : e.results) {
        Node& n = *graph.nodes[r.node];
        retain(&n);
        n.publish({m.storage(r.at), {m.address(r.at), n.dtype, r.layout}});
    }
    for (const Result& r : e.results) drop_inputs(*graph.nodes[r.node]);
    for (const Result& r : e.results) release(graph.nodes[r.node]);
}

}  // namespace

void run(Executable& e, const Graph& graph, bool poison) {
    const Memory m = allocate(e, graph, poison);
    std::vector<View> views;
    for (const Task& t : e.tasks) {
        bind(views, t, m);
        with_site(*graph.nodes[t.node], [&] { run_and_time(t, graph, views); });
    }
    publish(e, graph, m);
}

}  // namespace tenon::schedule
