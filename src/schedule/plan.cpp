#include "schedule/plan.h"

#include <atomic>

#include "base/hash.h"

namespace tenon::schedule {
namespace {

// Marks of the walk, in the nodes themselves: an epoch says which walk, an index where the node stands in it. Guarded
// by the evaluator's lock.
std::uint64_t epoch = 0;

struct Frame {
    Node* node;
    std::size_t next;
};

const Primitive* primitive_of(const Node& n) { return n.value() ? nullptr : n.primitive; }

// A leaf that has a value is the same leaf however that value came about.
std::uint64_t leaf_hash(const Node& n) {
    std::uint64_t h = mix(0, static_cast<std::uint64_t>(n.dtype));
    for (std::int64_t e : n.shape) h = mix(h, static_cast<std::uint64_t>(e));
    return h;
}

Step step_of(const Node& n) {
    Step s{primitive_of(n), n.dtype, n.shape, {}, {}};
    if (!s.primitive) return s;
    s.attributes = n.attributes;
    std::vector<std::uint32_t> inputs;
    for (const Node* in : n.inputs) inputs.push_back(in->visit_index);
    s.inputs = SmallVector<std::uint32_t, 3>(std::span<const std::uint32_t>(inputs));
    return s;
}

bool same(const Step& s, const Node& n) {
    if (s.primitive != primitive_of(n) || s.dtype != n.dtype || s.shape != n.shape) return false;
    if (!s.primitive) return true;
    if (s.inputs.size() != n.inputs.size() || !(s.attributes == n.attributes)) return false;
    for (std::size_t i = 0; i < n.inputs.size(); ++i)
        if (s.inputs[i] != n.inputs[i]->visit_index) return false;
    return true;
}

bool same(const Plan& p, const Graph& g) {
    if (p.key[1] != g.key[1] || p.steps.size() != g.nodes.size()) return false;
    for (std::size_t i = 0; i < g.nodes.size(); ++i)
        if (!same(p.steps[i], *g.nodes[i])) return false;
    return true;
}

}  // namespace

Graph collect(std::span<Node* const> roots) {
    Graph g{{}, {0, 1}};
    ++epoch;
    thread_local std::vector<Frame> stack;
    const auto finish = [&](Node* n) {
        n->visit_index = static_cast<std::uint32_t>(g.nodes.size());
        std::uint64_t h = n->value() ? leaf_hash(*n) : n->hash;
        if (!n->value())
            for (const Node* in : n->inputs) h = mix(h, in->visit_index);
        g.key[0] = mix(g.key[0], h);
        g.key[1] = mix(g.key[1] + h, g.key[0]);
        g.nodes.push_back(n);
    };
    const auto enter = [&](Node* n) {
        if (n->visit_epoch == epoch) return;
        n->visit_epoch = epoch;
        if (n->value() || n->inputs.empty())
            finish(n);
        else
            stack.push_back({n, 0});
    };
    for (Node* root : roots) {
        if (root->value()) continue;
        enter(root);
        while (!stack.empty()) {
            Frame& top = stack.back();
            if (top.next < top.node->inputs.size()) {
                enter(top.node->inputs[top.next++]);
            } else {
                Node* n = top.node;
                stack.pop_back();
                finish(n);
            }
        }
    }
    return g;
}

Plan& PlanCache::find(const Graph& graph) {
    const auto at = by_key_.find(graph.key[0]);
    if (at != by_key_.end()) {
        order_.splice(order_.begin(), order_, at->second);
        if (same(order_.front(), graph)) {
            ++hits_;
            return order_.front();
        }
        bytes_ -= order_.front().bytes;
        order_.pop_front();
        by_key_.erase(at);
    }
    ++misses_;
    Plan p;
    p.key[0] = graph.key[0], p.key[1] = graph.key[1];
    p.steps.reserve(graph.nodes.size());
    for (const Node* n : graph.nodes) p.steps.push_back(step_of(*n));
    p.bytes = sizeof(Plan) + p.steps.size() * sizeof(Step);
    bytes_ += p.bytes;
    order_.push_front(std::move(p));
    by_key_[graph.key[0]] = order_.begin();
    while (bytes_ > capacity_ && order_.size() > 1) {
        bytes_ -= order_.back().bytes;
        by_key_.erase(order_.back().key[0]);
        order_.pop_back();
    }
    return order_.front();
}

}  // namespace tenon::schedule
