// Values by node. A transform looks up each node of a graph several times, and std::unordered_map, which allocates each
// element, would take as long as recording the graph.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tensor/node.h"

namespace tenon::transform {

/// An array indexed by the nodes' orders, which are consecutive for one thread, and a hash table with open addressing
/// for the nodes that the array has no place for: those of other threads with the same order, older ones, and those far
/// beyond the first. Nothing is removed. A reference is valid until the next insertion.
template <class T>
class NodeMap {
  public:
    /// Fast if few nodes are older than `first_order`, or younger than `last_order`.
    NodeMap(std::uint64_t first_order, std::uint64_t last_order)
        : first_(first_order), near_(last_order < first_order ? 0 : std::min(last_order - first_order + 1, kMaxNear)) {}

    /// Null if there is none.
    const T* find(const Node* n) const {
        const std::uint64_t at = n->order - first_;
        if (at < kMaxNear) {
            if (at >= near_.size() || !near_[at].node) return nullptr;
            if (near_[at].node == n) return &near_[at].value;
        }
        if (count_ == 0) return nullptr;
        const Slot& s = slots_[slot_of(n)];
        return s.node ? &s.value : nullptr;
    }
    bool contains(const Node* n) const { return find(n) != nullptr; }
    T& operator[](const Node* n) {
        const std::uint64_t at = n->order - first_;
        if (at < kMaxNear) {
            if (at >= near_.size()) near_.resize(std::max<std::size_t>(2 * near_.size(), at + 64));
            Slot& s = near_[at];
            if (!s.node) s.node = n;
            if (s.node == n) return s.value;
        }
        if (2 * (count_ + 1) > slots_.size()) grow();
        Slot& s = slots_[slot_of(n)];
        if (!s.node) s.node = n, ++count_;
        return s.value;
    }

  private:
    static constexpr std::uint64_t kMaxNear = 1 << 16;

    struct Slot {
        const Node* node = nullptr;
        T value{};
    };

    /// Where the node is, or is to be inserted.
    std::size_t slot_of(const Node* n) const {
        constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;
        const auto bits = static_cast<unsigned>(std::countr_zero(slots_.size()));
        auto at = static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(n) * kGolden >> (64 - bits));
        while (slots_[at].node && slots_[at].node != n) at = (at + 1) % slots_.size();
        return at;
    }
    void grow() {
        std::vector<Slot> before(std::max<std::size_t>(64, 2 * slots_.size()));  // a power of 2
        before.swap(slots_);
        for (Slot& s : before)
            if (s.node) slots_[slot_of(s.node)] = std::move(s);
    }

    std::uint64_t first_;
    std::vector<Slot> near_;  // by order, from the first
    std::vector<Slot> slots_;
    std::size_t count_ = 0;  // in slots_
};

}  // namespace tenon::transform
