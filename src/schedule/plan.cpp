#include "schedule/plan.h"

#include <algorithm>
#include <iterator>

#include "base/hash.h"
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "schedule/executable.h"
#include "schedule/family.h"

namespace tenon::schedule {
namespace {

// Marks of the walk, in the nodes themselves: an epoch says which walk, an index where the node stands in it. Guarded
// by the evaluator's lock.
std::uint64_t epoch = 0;

struct Frame {
    Node* node;
    std::size_t next;
};
std::vector<Frame> stack;  // of the walk; the lock guards it too

constexpr std::size_t kUsual = 64;  // nodes of a small graph

const Primitive* primitive_of(const Node& n) { return n.value() ? nullptr : n.primitive; }

// Checkpoints of a graph, in the order of their appearance: their own numbers differ from step to step.
class Regions {
  public:
    std::uint32_t number(const Node& n) {
        if (n.region == 0 || n.value()) return 0;
        for (std::size_t i = seen_.size(); i-- > 0;)
            if (seen_[i] == n.region) return static_cast<std::uint32_t>(i + 1);
        seen_.push_back(n.region);
        return static_cast<std::uint32_t>(seen_.size());
    }

  private:
    std::vector<std::uint32_t> seen_;
};

Attributes leaf_strides(const Node& n) {
    const Layout& l = n.value()->view.layout;
    if (l.is_contiguous()) return {};
    return Attributes(std::span<const std::int64_t>(l.strides.begin(), l.strides.end()));
}

Step step_of(const Node& n, bool held, std::uint32_t region) {
    Step s{primitive_of(n), n.dtype, held, region, n.shape, {}, {}};
    if (!s.primitive) {
        s.attributes = leaf_strides(n);
        return s;
    }
    s.attributes = n.attributes;
    std::uint32_t few[8];
    std::vector<std::uint32_t> many;
    std::uint32_t* inputs = few;
    if (n.inputs.size() > 8) {
        many.resize(n.inputs.size());
        inputs = many.data();
    }
    for (std::size_t i = 0; i < n.inputs.size(); ++i) inputs[i] = n.inputs[i]->visit_index;
    s.inputs = SmallVector<std::uint32_t, 3>(std::span<const std::uint32_t>(inputs, n.inputs.size()));
    return s;
}

/// Calls f with the words of a node's part of the structure; the first ones say how many there are. A leaf that has a
/// value is the same leaf, however that value was computed.
template <class F>
void for_words(const Node& n, bool held, std::uint32_t region, F&& f) {
    const Layout* const stored = n.value() ? &n.value()->view.layout : nullptr;
    const bool strided = stored && !stored->is_contiguous();
    f(reinterpret_cast<std::uintptr_t>(primitive_of(n)));
    f(static_cast<std::uint64_t>(n.dtype) | std::uint64_t{held} << 8 | std::uint64_t{strided} << 9 |
      static_cast<std::uint64_t>(n.shape.rank()) << 16 | std::uint64_t{region} << 32);
    for (const std::int64_t e : n.shape) f(static_cast<std::uint64_t>(e));
    if (strided)
        for (const std::int64_t s : stored->strides) f(static_cast<std::uint64_t>(s));
    if (stored) return;
    f(n.attributes.size() | n.inputs.size() << 32);
    for (const std::int64_t a : n.attributes) f(static_cast<std::uint64_t>(a));
    if (n.primitive->device) return;  // the walk ends at transfers
    for (const Node* in : n.inputs) f(in->visit_index);
}

/// The words of the whole graph.
template <class F>
void for_words(const Graph& g, F&& f) {
    Regions regions;
    f(g.variant);
    for (std::size_t i = 0; i < g.nodes.size(); ++i) for_words(*g.nodes[i], g.held[i], regions.number(*g.nodes[i]), f);
}

bool same(const Plan& p, const Graph& g) {
    const std::uint64_t *at = p.words.data(), *const end = at + p.words.size();
    bool equal = *at++ == g.variant;
    Regions regions;
    for (std::size_t i = 0; equal && i < g.nodes.size(); ++i)
        for_words(*g.nodes[i], g.held[i], regions.number(*g.nodes[i]),
                  [&](std::uint64_t word) { equal = equal && at != end && *at++ == word; });
    return equal && at == end;
}

// Marks nodes that are referred to from outside: more often than by edges of the walk, as is known once it has ended.
void mark_held(Graph& g) {
    g.held.resize(g.nodes.size());
    for (std::size_t i = 0; i < g.nodes.size(); ++i) {
        const Node& n = *g.nodes[i];
        g.held[i] = !n.value() && n.references.load(std::memory_order_relaxed) > n.visit_uses;
    }
}

}  // namespace

Graph collect(std::span<Node* const> roots, std::uint64_t variant, Device device) {
    if (device != Device::cpu()) variant = mix(variant, 1u + device.index);
    Graph g{{}, {}, variant, device};
    g.nodes.reserve(kUsual);
    ++epoch;
    stack.clear();
    const auto finish = [&](Node* n) {
        n->visit_index = static_cast<std::uint32_t>(g.nodes.size());
        g.nodes.push_back(n);
    };
    const auto enter = [&](Node* n, std::uint32_t uses) {
        if (n->visit_epoch == epoch) {
            n->visit_uses += uses;
            return;
        }
        n->visit_epoch = epoch;
        n->visit_uses = uses;
        const bool is_leaf = n->value(), transfers = n->primitive->device;
        if (transfers && !is_leaf) g.transfers.push_back(n);
        if (!is_leaf && n->inputs.empty() && is_symbolic(*n)) g.is_open = true;
        if (is_leaf || n->inputs.empty() || transfers)
            finish(n);
        else
            stack.push_back({n, 0});
    };
    for (Node* root : roots) {
        if (root->value()) continue;
        enter(root, 0);
        while (!stack.empty()) {
            Frame& top = stack.back();
            if (top.next < top.node->inputs.size()) {
                enter(top.node->inputs[top.next++], 1);
            } else {
                Node* n = top.node;
                stack.pop_back();
                finish(n);
            }
        }
    }
    mark_held(g);
    return g;
}

std::uint64_t key_of(const Graph& graph) {
    std::uint64_t key = 0;
    for_words(graph, [&](std::uint64_t word) { key = mix(key, word); });
    return key;
}

Plan* PlanCache::find(const Graph& graph) {
    const auto expected = by_key_.find(expected_);
    if (expected != by_key_.end() && same(*expected->second, graph)) return used(expected->second);
    const std::uint64_t key = key_of(graph);
    if (const auto last = by_key_.find(last_); last != by_key_.end()) last->second->after = key;
    return find(graph, key);
}

Plan* PlanCache::find(const Graph& graph, std::uint64_t key) {
    if (const auto at = by_key_.find(key); at != by_key_.end()) {
        if (same(*at->second, graph)) return used(at->second);
        drop(at->second);
    }
    return add(graph, key);
}

Plan* PlanCache::used(std::list<Plan>::iterator plan) {
    order_.splice(order_.begin(), order_, plan);
    ++hits_;
    last_ = plan->key, expected_ = plan->after;
    return &*plan;
}

Plan* PlanCache::add(const Graph& graph, std::uint64_t key) {
    ++misses_;
    const std::size_t bytes = sizeof(Plan) + graph.nodes.size() * sizeof(Step);
    if (bytes > capacity_) return nullptr;
    std::vector<Step> steps;
    steps.reserve(graph.nodes.size());
    Regions regions;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i)
        steps.push_back(step_of(*graph.nodes[i], graph.held[i], regions.number(*graph.nodes[i])));
    Plan p;
    p.key = key;
    p.steps = std::make_shared<const std::vector<Step>>(std::move(steps));
    for_words(graph, [&](std::uint64_t word) { p.words.push_back(word); });
    p.words.shrink_to_fit();
    p.family = family_of(graph, p.steps);
    order_.push_front(std::move(p));
    by_key_[key] = order_.begin();
    last_ = newest_ = key, expected_ = 0;
    grow(order_.front(), bytes + order_.front().words.size() * sizeof(std::uint64_t));
    return &order_.front();
}

std::shared_ptr<Family> PlanCache::family_of(const Graph& graph,
                                             const std::shared_ptr<const std::vector<Step>>& steps) {
    std::weak_ptr<Family>& known = families_[key_of_structure(graph)];
    std::shared_ptr<Family> family = known.lock();
    if (!family || !family->holds(graph)) known = family = std::make_shared<Family>(steps);
    return family;
}

void PlanCache::drop(std::list<Plan>::iterator plan) {
    bytes_ -= plan->bytes;
    if (plan->family.use_count() == 1) bytes_ -= plan->family->bytes();
    by_key_.erase(plan->key);
    order_.erase(plan);
}

void PlanCache::make_room() {
    while (bytes_ > capacity_ && order_.size() > 1) drop(std::prev(order_.end()));
    if (families_.size() > 2 * order_.size() + 64)
        std::erase_if(families_, [](const auto& f) { return f.second.expired(); });
}

void PlanCache::grow(Plan& plan, std::size_t bytes) {
    plan.bytes += bytes;
    bytes_ += bytes;
    make_room();
}

void PlanCache::grow_family(Plan& plan, std::size_t bytes_before) {
    bytes_ += plan.family->bytes();
    bytes_ -= bytes_before;
    make_room();
}

}  // namespace tenon::schedule
