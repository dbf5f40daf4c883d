#include "schedule/arena.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

namespace tenon::schedule {
namespace {

std::int64_t padded(std::int64_t bytes) { return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment; }

bool meet(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

std::int64_t place(std::span<Lifetime> buffers) {
    std::vector<std::size_t> order(buffers.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return buffers[a].bytes > buffers[b].bytes; });
    std::vector<const Lifetime*> placed;  // by offset
    std::int64_t total = 0;
    for (const std::size_t i : order) {
        Lifetime& b = buffers[i];
        const std::int64_t bytes = padded(b.bytes);
        std::int64_t end = 0, best = -1, gap = 0;
        for (const Lifetime* other : placed) {
            if (!meet(b, *other)) continue;
            const std::int64_t room = other->offset - end;
            if (room >= bytes && (best < 0 || room < gap)) best = end, gap = room;
            end = std::max(end, other->offset + padded(other->bytes));
        }
        b.offset = best < 0 ? end : best;
        total = std::max(total, b.offset + bytes);
        const auto at = std::upper_bound(placed.begin(), placed.end(), b.offset,
                                         [](std::int64_t o, const Lifetime* l) { return o < l->offset; });
        placed.insert(at, &b);
    }
    return total;
}

std::int64_t least_bytes(std::span<const Lifetime> buffers, std::int64_t* at) {
    std::map<std::int64_t, std::int64_t> change;
    for (const Lifetime& b : buffers) {
        change[b.first] += padded(b.bytes);
        change[b.last + 1] -= padded(b.bytes);
    }
    std::int64_t now = 0, most = 0;
    for (const auto& [step, bytes] : change) {
        now += bytes;
        if (now <= most) continue;
        most = now;
        if (at) *at = step;
    }
    return most;
}

}  // namespace tenon::schedule
