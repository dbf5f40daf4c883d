#include "schedule/arena.h"

#include <algorithm>
#include <map>
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
    struct Placed {
        std::int64_t first, last, begin, end;
    };
    std::vector<Placed> placed;  // by offset; a vector of values, since every buffer looks at all of it
    placed.reserve(buffers.size());
    std::int64_t total = 0;
    for (const std::size_t i : order) {
        Lifetime& b = buffers[i];
        const std::int64_t bytes = padded(b.bytes), first = b.first, last = b.last;
        std::int64_t end = 0, best = -1, gap = 0;
        for (const Placed& other : placed) {
            if (other.last < first || last < other.first) continue;
            const std::int64_t room = other.begin - end;
            if (room >= bytes && (best < 0 || room < gap)) best = end, gap = room;
            end = std::max(end, other.end);
        }
        b.offset = best < 0 ? end : best;
        total = std::max(total, b.offset + bytes);
        const auto at = std::upper_bound(placed.begin(), placed.end(), b.offset,
                                         [](std::int64_t o, const Placed& p) { return o < p.begin; });
        placed.insert(at, {first, last, b.offset, b.offset + bytes});
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
