// The cache of graphs seen before: a structural key finds the plan, and the plan's own record of the structure confirms
// it.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "tensor/node.h"

namespace tenon::schedule {

/// The nodes to compute, operands first. They include leaves that have values, since their dtype, shape and strides are
/// part of the structure; their elements are not.
struct Graph {
    std::vector<Node*> nodes;
    /// For each node: it has no value yet, and something outside the graph refers to it, so that it must get one.
    std::vector<bool> held;
    std::uint64_t variant = 0;
    Device device{};  // of everything that is computed
    /// Nodes of another device that have no value yet: they must be computed before the graph can run.
    std::vector<Node*> transfers = {};
    /// It reads an argument of a compiled function, which has no value outside that function's calls.
    bool is_open = false;
    /// For leaves, if known when the graph is compiled: nobody refers to them after it has been computed.
    std::vector<bool> dies = {};
};

/// Visits everything pending below `roots`, depth first, operands in order. The caller holds the evaluator's lock.
/// `variant` distinguishes graphs of one structure that are compiled in different ways. The walk ends at transfers.
Graph collect(std::span<Node* const> roots, std::uint64_t variant = 0, Device device = {});

/// A hash of the structure.
std::uint64_t key_of(const Graph& graph);

/// One node of a remembered graph.
struct Step {
    const Primitive* primitive;  // null for a leaf that has a value
    DType dtype;
    bool held;
    std::uint32_t region;  // checkpoints, numbered in order of appearance, from 1
    Shape shape;
    Attributes attributes;  // for a leaf that has a value: its strides, unless it is contiguous
    SmallVector<std::uint32_t, 3> inputs;
};

struct Executable;
class Family;

struct Plan {
    std::shared_ptr<const std::vector<Step>> steps;
    /// The graph's structure again, in few cache lines: every look-up compares all of it.
    std::vector<std::uint64_t> words;
    std::uint64_t key = 0;
    std::uint64_t after = 0;  // the key of the graph that came after it the last time
    std::int64_t seen = 0;  // how often this graph has come
    std::size_t bytes = 0;
    std::shared_ptr<Family> family;  // graphs with other extents
    std::shared_ptr<const Executable> executable;  // from the second time on
    bool refused = false;  // it always runs node by node
};

/// Drops the least recently used plans when the bytes run out; reaching the limit is not an error.
class PlanCache {
  public:
    explicit PlanCache(std::size_t capacity_bytes) : capacity_(capacity_bytes) {}

    /// The plan of the graph, new or remembered. Null for a graph that is larger than the cache. In a loop the plan
    /// that came after the last one is compared first, and no key is needed.
    Plan* find(const Graph& graph);
    /// The same by a key. If it meets a different structure, the new one replaces the old one.
    Plan* find(const Graph& graph, std::uint64_t key);
    /// Counts what a plan, or its family, has grown by since it had `bytes_before`, and makes room for it.
    void grow(Plan& plan, std::size_t bytes);
    void grow_family(Plan& plan, std::size_t bytes_before);

    std::int64_t hits() const { return hits_; }
    std::int64_t misses() const { return misses_; }
    std::size_t bytes() const { return bytes_; }
    std::size_t size() const { return order_.size(); }
    const std::list<Plan>& plans() const { return order_; }
    /// The key of the last new graph.
    std::uint64_t newest() const { return newest_; }

  private:
    Plan* used(std::list<Plan>::iterator plan);
    Plan* add(const Graph& graph, std::uint64_t key);
    void drop(std::list<Plan>::iterator plan);
    void make_room();
    std::shared_ptr<Family> family_of(const Graph& graph, const std::shared_ptr<const std::vector<Step>>& steps);

    std::size_t capacity_;
    std::size_t bytes_ = 0;
    std::int64_t hits_ = 0, misses_ = 0;
    std::uint64_t newest_ = 0;
    std::uint64_t last_ = 0, expected_ = 0;  // the keys of the last graph and of the one that should come next
    std::list<Plan> order_;  // most recently used first
    std::unordered_map<std::uint64_t, std::list<Plan>::iterator> by_key_;
    std::unordered_map<std::uint64_t, std::weak_ptr<Family>> families_;  // by structure; their plans own them
};

}  // namespace tenon::schedule
