#include "schedule/arena.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace tenon::schedule {
namespace {

std::int64_t padded(std::int64_t bytes) { return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment; }

}  // namespace

std::int64_t place(std::span<Lifetime> buffers) {
    std::vector<std::size_t> order(buffers.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return buffers[a].bytes > buffers[b].bytes; });
    // By offset. Every buffer looks at all lifetimes, without a branch that nobody can predict, and then at the memory
    // of those that overlap its own.
    struct Lives {
        std::int64_t first, last;
    };
    struct Place {
        std::int64_t begin, end;
    };
    std::vector<Lives> lives;
    std::vector<Place> placed;
    lives.reserve(buffers.size()), placed.reserve(buffers.size());
    std::vector<std::uint32_t> near(buffers.size() + 1);
    std::int64_t total = 0;
    for (const std::size_t i : order) {
        Lifetime& b = buffers[i];
        const std::int64_t bytes = padded(b.bytes), first = b.first, last = b.last;
        std::int64_t end = 0, best = -1, gap = 0;
        std::size_t overlapping = 0;
        for (std::size_t p = 0; p < lives.size(); ++p) {
            near[overlapping] = static_cast<std::uint32_t>(p);
            overlapping +=
                static_cast<std::size_t>(lives[p].last >= first) & static_cast<std::size_t>(lives[p].first <= last);
        }
        for (std::size_t p = 0; p < overlapping; ++p) {
            const Place& other = placed[near[p]];
            const std::int64_t room = other.begin - end;
            if (room >= bytes && (best < 0 || room < gap)) best = end, gap = room;
            end = std::max(end, other.end);
        }
        b.offset = best < 0 ? end : best;
        total = std::max(total, b.offset + bytes);
        const auto at = std::upper_bound(placed.begin(), placed.end(), b.offset,
                                         [](std::int64_t o, const Place& p) { return o < p.begin; });
        lives.insert(lives.begin() + (at - placed.begin()), {first, last});
        placed.insert(at, {b.offset, b.offset + bytes});
    }
    return total;
}

Arrangement::Arrangement(std::span<const Lifetime> placed) : order_(placed.size()) {
    std::iota(order_.begin(), order_.end(), 0u);
    std::stable_sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
        return placed[a].offset != placed[b].offset ? placed[a].offset < placed[b].offset
                                                    : padded(placed[a].bytes) < padded(placed[b].bytes);
    });
    const auto together = [&](std::uint32_t a, std::uint32_t b) {
        return placed[a].first <= placed[b].last && placed[b].first <= placed[a].last;
    };
    for (std::size_t i = 0; i < order_.size(); ++i) {
        const std::size_t begin = under_.size();
        for (std::size_t j = i; j-- > 0;) {
            if (!together(order_[i], order_[j])) continue;
            const bool follows = std::any_of(under_.begin() + static_cast<std::ptrdiff_t>(begin), under_.end(),
                                             [&](std::uint32_t u) { return together(u, order_[j]); });
            if (!follows) under_.push_back(order_[j]);  // else it lies under one that is here
        }
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
    // Steps are tasks, so there are not many more of them than buffers.
    std::int64_t first = 0, last = -1;
    for (const Lifetime& b : buffers) first = std::min(first, b.first), last = std::max(last, b.last);
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
