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

// A leaf that has a value is the same leaf, however that value was computed.
std::uint64_t leaf_hash(const Node& n) {
    std::uint64_t h = mix(0, static_cast<std::uint64_t>(n.dtype));
    for (std::int64_t e : n.shape) h = mix(h, static_cast<std::uint64_t>(e));
    const Layout& l = n.value()->view.layout;
    if (!l.is_contiguous())
        for (std::int64_t s : l.strides) h = mix(h, static_cast<std::uint64_t>(s));
    return h;
}

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

bool same_leaf(const Step& s, const Node& n) {
    const Layout& l = n.value()->view.layout;
    if (l.is_contiguous()) return s.attributes.empty();
    return std::equal(s.attributes.begin(), s.attributes.end(), l.strides.begin(), l.strides.end());
}

bool same(const Step& s, const Node& n, bool held, std::uint32_t region) {
    if (s.primitive != primitive_of(n) || s.dtype != n.dtype || s.shape != n.shape) return false;
    if (!s.primitive) return same_leaf(s, n);
    if (s.held != held || s.region != region || s.inputs.size() != n.inputs.size() || !(s.attributes == n.attributes))
        return false;
    for (std::size_t i = 0; i < n.inputs.size(); ++i)
        if (s.inputs[i] != n.inputs[i]->visit_index) return false;
    return true;
}

bool same(const Plan& p, const Graph& g) {
    if (p.key[1] != g.key[1] || p.steps->size() != g.nodes.size()) return false;
    Regions regions;
    for (std::size_t i = 0; i < g.nodes.size(); ++i)
        if (!same((*p.steps)[i], *g.nodes[i], g.held[i], regions.number(*g.nodes[i]))) return false;
    return true;
}

void add_to_key(Graph& g, std::uint64_t h) {
    g.key[0] = mix(g.key[0], h);
    g.key[1] = mix(g.key[1] + h, g.key[0]);
}

// Marks nodes that are referred to from outside: more often than by edges of the walk, as is known once it has ended.
void mark_held(Graph& g) {
    g.held.resize(g.nodes.size());
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < g.nodes.size(); ++i) {
        const Node& n = *g.nodes[i];
        g.held[i] = !n.value() && n.references.load(std::memory_order_relaxed) > n.visit_uses;
        word = word << 1 | g.held[i];
        if (i % 64 == 63) add_to_key(g, word);
    }
    add_to_key(g, word);
}

}  // namespace

Graph collect(std::span<Node* const> roots, std::uint64_t variant, Device device) {
    if (device != Device::cpu()) variant = mix(variant, 1u + device.index);
    Graph g{{}, {}, {variant, 1}, variant, device};
    g.nodes.reserve(kUsual);
    ++epoch;
    stack.clear();
    Regions regions;
    const auto finish = [&](Node* n, bool is_leaf) {
        n->visit_index = static_cast<std::uint32_t>(g.nodes.size());
        std::uint64_t h = is_leaf ? leaf_hash(*n) : mix(n->hash, regions.number(*n));
        if (!is_leaf && !n->primitive->device)
            for (const Node* in : n->inputs) h = mix(h, in->visit_index);
        add_to_key(g, h);
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
            finish(n, is_leaf);
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
                finish(n, false);
            }
        }
    }
    mark_held(g);
    return g;
}

Plan* PlanCache::find(const Graph& graph) {
    const auto at = by_key_.find(graph.key[0]);
    if (at != by_key_.end()) {
        order_.splice(order_.begin(), order_, at->second);
        if (same(order_.front(), graph)) {
            ++hits_;
            return &order_.front();
        }
        drop(at->second);
    }
    ++misses_;
    const std::size_t bytes = sizeof(Plan) + graph.nodes.size() * sizeof(Step);
    if (bytes > capacity_) return nullptr;
    std::vector<Step> steps;
    steps.reserve(graph.nodes.size());
    Regions regions;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i)
        steps.push_back(step_of(*graph.nodes[i], graph.held[i], regions.number(*graph.nodes[i])));
    Plan p;
    p.key[0] = graph.key[0], p.key[1] = graph.key[1];
    p.steps = std::make_shared<const std::vector<Step>>(std::move(steps));
    p.family = family_of(graph, p.steps);
    order_.push_front(std::move(p));
    by_key_[graph.key[0]] = order_.begin();
    newest_ = graph.key[0];
    grow(order_.front(), bytes);
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
    by_key_.erase(plan->key[0]);
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
