// Values by node. A transform asks for each node several times, and a node of its own for each, as std::unordered_map
// has, takes as long as recording one.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tensor/node.h"

namespace tenon::transform {

/// Open addressing; nothing is taken out. A reference holds until something is put in.
template <class T>
class NodeMap {
  public:
    /// Null where there is none.
    const T* find(const Node* n) const {
        const Slot& s = slots_[slot_of(n)];
        return s.node ? &s.value : nullptr;
    }
    bool contains(const Node* n) const { return find(n) != nullptr; }
    T& operator[](const Node* n) {
        if (2 * (count_ + 1) > slots_.size()) grow();
        Slot& s = slots_[slot_of(n)];
        if (!s.node) s.node = n, ++count_;
        return s.value;
    }

  private:
    struct Slot {
        const Node* node = nullptr;
        T value{};
    };

    /// Where the node is, or would be put.
    std::size_t slot_of(const Node* n) const {
        constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;
        const auto bits = static_cast<unsigned>(std::countr_zero(slots_.size()));
        auto at = static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(n) * kGolden >> (64 - bits));
        while (slots_[at].node && slots_[at].node != n) at = (at + 1) % slots_.size();
        return at;
    }
    void grow() {
        std::vector<Slot> before(2 * slots_.size());
        before.swap(slots_);
        for (Slot& s : before)
            if (s.node) slots_[slot_of(s.node)] = std::move(s);
    }

    std::vector<Slot> slots_ = std::vector<Slot>(64);  // a power of 2
    std::size_t count_ = 0;
};

}  // namespace tenon::transform
