#include "schedule/arena.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

namespace tenon::schedule {
namespace {

std::int64_t padded(std::int64_t bytes) { return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment; }

/// Disjoint stretches of memory, in order; adjacent ones are joined.
class Stretches {
  public:
    struct Stretch {
        std::int64_t begin, end;
    };

    void add(Stretch s) {
        auto at = std::lower_bound(all_.begin(), all_.end(), s.begin,
                                   [](const Stretch& x, std::int64_t begin) { return x.end < begin; });
        if (at == all_.end() || at->begin > s.end) {
            all_.insert(at, s);
            return;
        }
        at->begin = std::min(at->begin, s.begin), at->end = std::max(at->end, s.end);
        auto after = at + 1;
        for (; after != all_.end() && after->begin <= at->end; ++after) at->end = std::max(at->end, after->end);
        all_.erase(at + 1, after);
    }
    const std::vector<Stretch>& all() const { return all_; }

  private:
    std::vector<Stretch> all_;
};
using Stretch = Stretches::Stretch;

/// Which memory is taken at which steps, for few buffers: checks each of them, without branches that mispredict.
class FewTaken {
  public:
    explicit FewTaken(std::int64_t) {}

    void add(std::int64_t first, std::int64_t last, Stretch s) {
        const auto at = std::upper_bound(stretches_.begin(), stretches_.end(), s.begin,
                                         [](std::int64_t begin, const Stretch& x) { return begin < x.begin; });
        lives_.insert(lives_.begin() + (at - stretches_.begin()), {first, last});
        stretches_.insert(at, s);
    }
    /// Calls body with all that is taken at a step of [first, last], by `begin`; stretches may overlap.
    template <class F>
    void during(std::int64_t first, std::int64_t last, F&& body) {
        near_.resize(lives_.size() + 1);
        std::size_t near = 0;
        for (std::size_t i = 0; i < lives_.size(); ++i) {
            near_[near] = static_cast<std::uint32_t>(i);
            near +=
                static_cast<std::size_t>(lives_[i].last >= first) & static_cast<std::size_t>(lives_[i].first <= last);
        }
        for (std::size_t i = 0; i < near; ++i) body(stretches_[near_[i]]);
    }

  private:
    struct Lives {
        std::int64_t first, last;
    };
    std::vector<Lives> lives_;
    std::vector<Stretch> stretches_;
    std::vector<std::uint32_t> near_;
};

/// The same for many buffers: a binary tree of steps (node n's halves are 2n and 2n + 1). A buffer's lifetime is O(log
/// steps) whole nodes. As buffers are packed closely, a node's memory is few stretches.
class Taken {
  public:
    explicit Taken(std::int64_t steps) : leaves_(std::bit_ceil(static_cast<std::size_t>(steps))), nodes_(2 * leaves_) {}

    void add(std::int64_t first, std::int64_t last, Stretch s) {
        for_whole(first, last, [&](Node& n) { n.through.add(s), n.within.add(s); });
        for_above(first, last, [&](Node& n) { n.within.add(s); });
    }
    template <class F>
    void during(std::int64_t first, std::int64_t last, F&& body) {
        found_.clear();
        const auto take = [&](const Stretches& s) { found_.insert(found_.end(), s.all().begin(), s.all().end()); };
        for_whole(first, last, [&](Node& n) { take(n.within); });
        for_above(first, last, [&](Node& n) { take(n.through); });
        std::sort(found_.begin(), found_.end(), [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
        for (const Stretch& s : found_) body(s);
    }

  private:
    struct Node {
        Stretches through;  // taken by buffers that live at all its steps
        // taken by buffers that live at some of its steps, except those that live through a node above
        Stretches within;
    };

    template <class F>
    void for_whole(std::int64_t first, std::int64_t last, F&& body) {
        std::size_t l = leaves_ + static_cast<std::size_t>(first), r = leaves_ + static_cast<std::size_t>(last) + 1;
        for (; l < r; l /= 2, r /= 2) {
            if (l % 2) body(nodes_[l++]);
            if (r % 2) body(nodes_[--r]);
        }
    }
    template <class F>
    void for_above(std::int64_t first, std::int64_t last, F&& body) {
        std::size_t l = leaves_ + static_cast<std::size_t>(first), r = leaves_ + static_cast<std::size_t>(last);
        while (l > 1) {
            l /= 2, r /= 2;
            body(nodes_[l]);
            if (l != r) body(nodes_[r]);
        }
    }

    std::size_t leaves_;
    std::vector<Node> nodes_;
    std::vector<Stretch> found_;
};

/// The first and the last step of all.
std::pair<std::int64_t, std::int64_t> steps_of(std::span<const Lifetime> buffers) {
    std::int64_t first = 0, last = -1;
    for (const Lifetime& b : buffers) first = std::min(first, b.first), last = std::max(last, b.last);
    return {first, last};
}

template <class Memory>
std::int64_t place_in(Memory taken, std::int64_t start, std::span<Lifetime> buffers) {
    std::vector<std::size_t> order(buffers.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return buffers[a].bytes > buffers[b].bytes; });
    std::int64_t total = 0;
    for (const std::size_t i : order) {
        Lifetime& b = buffers[i];
        const std::int64_t bytes = padded(b.bytes);
        b.offset = 0;
        if (bytes == 0) continue;
        std::int64_t end = 0, best = -1, gap = 0;
        taken.during(b.first - start, b.last - start, [&](const Stretch& other) {
            const std::int64_t room = other.begin - end;
            if (room >= bytes && (best < 0 || room < gap)) best = end, gap = room;
            end = std::max(end, other.end);
        });
        b.offset = best < 0 ? end : best;
        total = std::max(total, b.offset + bytes);
        taken.add(b.first - start, b.last - start, {b.offset, b.offset + bytes});
    }
    return total;
}

}  // namespace

std::int64_t place(std::span<Lifetime> buffers) {
    constexpr std::size_t kFew = 2500;  // above it the tree is faster
    const auto [start, last] = steps_of(buffers);
    const std::int64_t steps = last - start + 1;
    return buffers.size() <= kFew ? place_in(FewTaken(steps), start, buffers) : place_in(Taken(steps), start, buffers);
}

Arrangement::Arrangement(std::span<const Lifetime> placed) : order_(placed.size()) {
    std::iota(order_.begin(), order_.end(), 0u);
    std::stable_sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
        return placed[a].offset != placed[b].offset ? placed[a].offset < placed[b].offset
                                                    : padded(placed[a].bytes) < padded(placed[b].bytes);
    });
    // From each step on, up to the next in the map, the uppermost buffer so far, by its place in the order. What lies
    // under one that is not here any more lies under what hides it. Stretches that were looked at become one, so
    // this is O(n log n).
    constexpr std::uint32_t kNone = ~std::uint32_t{0};
    std::map<std::int64_t, std::uint32_t> uppermost{{steps_of(placed).first, kNone}};
    const auto divide = [&](std::int64_t step) {
        const auto at = uppermost.lower_bound(step);
        if (at != uppermost.end() && at->first == step) return at;
        return uppermost.emplace_hint(at, step, std::prev(at)->second);
    };
    const auto together = [&](std::uint32_t a, std::uint32_t b) {
        return placed[a].first <= placed[b].last && placed[b].first <= placed[a].last;
    };
    constexpr std::size_t kFew = 16;  // of which those that lie under others are left out
    std::vector<std::uint32_t> found;  // places in the order
    for (std::uint32_t i = 0; i < order_.size(); ++i) {
        found.clear();
        const Lifetime& b = placed[order_[i]];
        const auto last = divide(b.last + 1), first = divide(b.first);
        for (auto at = first; at != last; ++at)
            if (at->second != kNone) found.push_back(at->second);
        uppermost.erase(std::next(first), last);
        first->second = i;
        std::sort(found.begin(), found.end(), std::greater<>());
        found.erase(std::unique(found.begin(), found.end()), found.end());
        const auto begin = static_cast<std::ptrdiff_t>(under_.size());
        for (const std::uint32_t p : found)
            if (found.size() > kFew || std::none_of(under_.begin() + begin, under_.end(),
                                                    [&](std::uint32_t u) { return together(u, order_[p]); }))
                under_.push_back(order_[p]);
        end_.push_back(static_cast<std::uint32_t>(under_.size()));
    }
}

std::int64_t Arrangement::place(std::span<Lifetime> buffers) const {
    std::int64_t total = 0;
    for (std::size_t i = 0, u = 0; i < order_.size(); ++i) {
        Lifetime& b = buffers[order_[i]];
        b.offset = 0;
        for (; u < end_[i]; ++u)
            b.offset = std::max(b.offset, buffers[under_[u]].offset + padded(buffers[under_[u]].bytes));
        total = std::max(total, b.offset + padded(b.bytes));
    }
    return total;
}

std::int64_t least_bytes(std::span<const Lifetime> buffers, std::int64_t* at) {
    // Steps are tasks, so there are few more steps than buffers.
    const auto [first, last] = steps_of(buffers);
    std::vector<std::int64_t> change(static_cast<std::size_t>(last - first + 2));
    for (const Lifetime& b : buffers) {
        change[static_cast<std::size_t>(b.first - first)] += padded(b.bytes);
        change[static_cast<std::size_t>(b.last + 1 - first)] -= padded(b.bytes);
    }
    std::int64_t now = 0, most = 0;
    for (std::size_t step = 0; step < change.size(); ++step) {
        now += change[step];
        if (now <= most) continue;
        most = now;
        if (at) *at = first + static_cast<std::int64_t>(step);
    }
    return most;
}

}  // namespace tenon::schedule
