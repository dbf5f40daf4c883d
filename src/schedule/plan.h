// The cache of graphs seen: a structural key finds the plan, the plan's own record of the structure proves it.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "tensor/node.h"

namespace tenon::schedule {

/// The nodes to be computed, operands first, and the key of their structure. Leaves that have values stand in it too,
/// since what they are (dtype, shape, strides) is part of the structure; their elements are not.
struct Graph {
    std::vector<Node*> nodes;
    /// Of each node: it has no value yet, and somebody outside the graph refers to it, so that it must get one.
    std::vector<bool> held;
    std::uint64_t key[2];
    std::uint64_t variant = 0;
    Device device{};  // of all that is computed
    /// Nodes from another device that have no value yet: the graph cannot run before they have.
    std::vector<Node*> transfers = {};
    /// Of leaves, where it is known as the graph is compiled: nobody refers to them after it has been computed.
    std::vector<bool> dies = {};
};

/// Walks everything pending below `roots`, depth first, operands in order. The caller holds the evaluator's lock.
/// `variant` tells graphs of one structure apart that are to be compiled in different ways. The walk ends at transfers.
Graph collect(std::span<Node* const> roots, std::uint64_t variant = 0, Device device = {});

/// One node of a remembered graph.
struct Step {
    const Primitive* primitive;  // null for a leaf that has a value
    DType dtype;
    bool held;
    std::uint32_t region;  // checkpoints, numbered as they appear, from 1
    Shape shape;
    Attributes attributes;  // of a leaf that has a value: its strides, where it is not contiguous
    SmallVector<std::uint32_t, 3> inputs;
};

struct Executable;
class Family;

struct Plan {
    std::shared_ptr<const std::vector<Step>> steps;
    std::uint64_t key[2] = {};
    std::int64_t seen = 0;  // times this graph has come
    std::size_t bytes = 0;
    std::shared_ptr<Family> family;  // of graphs with other extents
    std::shared_ptr<const Executable> executable;  // from the second time on
    bool refused = false;  // it runs node by node for good
};

/// Least recently used plans go first when the bytes run out; no limit ever fails.
class PlanCache {
  public:
    explicit PlanCache(std::size_t capacity_bytes) : capacity_(capacity_bytes) {}

    /// The plan of a graph, new or remembered; a key that meets a different structure replaces what it found. Null for
    /// a graph that is larger than the cache.
    Plan* find(const Graph& graph);
    /// Counts what a plan has grown by, or its family since it had `bytes_before`, and makes room for it.
    void grow(Plan& plan, std::size_t bytes);
    void grow_family(Plan& plan, std::size_t bytes_before);

    std::int64_t hits() const { return hits_; }
    std::int64_t misses() const { return misses_; }
    std::size_t bytes() const { return bytes_; }
    std::size_t size() const { return order_.size(); }
    const std::list<Plan>& plans() const { return order_; }
    /// The key of the last graph that was new.
    std::uint64_t newest() const { return newest_; }

  private:
    void drop(std::list<Plan>::iterator plan);
    void make_room();
    std::shared_ptr<Family> family_of(const Graph& graph, const std::shared_ptr<const std::vector<Step>>& steps);

    std::size_t capacity_;
    std::size_t bytes_ = 0;
    std::int64_t hits_ = 0, misses_ = 0;
    std::uint64_t newest_ = 0;
    std::list<Plan> order_;  // most recently used first
    std::unordered_map<std::uint64_t, std::list<Plan>::iterator> by_key_;
    std::unordered_map<std::uint64_t, std::weak_ptr<Family>> families_;  // by structure; their plans keep them
};

}  // namespace tenon::schedule
