// Layers composed of another library's products: steps, and the memory that they share.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "bench/peer.h"

namespace bench {

inline std::int64_t size(tenon::DType t) { return static_cast<std::int64_t>(tenon::size_of(t)); }

struct Composition {
    std::deque<Buffer> memory;
    std::deque<Operands> operands;
    std::vector<std::function<void()>> steps;
    std::function<void()> fetch;  // copies results that are elsewhere, or in another order, to C

    void* allocate(std::int64_t bytes) { return memory.emplace_back(bytes).data(); }

    /// c = a b, the problem's product. Throws Unsupported if the library does not have it.
    void add(const Peer& peer, const Problem& problem, void* a, void* b, void* c) {
        if (const std::string why = peer.supports(problem); !why.empty()) throw Unsupported(why);
        operands.push_back({Buffer(a, 0), Buffer(b, 0), Buffer(c, 0)});
        Prepared prepared = peer.prepare(problem, operands.back());
        if (prepared.fetch) throw Unsupported("keeps operands of its own");
        steps.emplace_back([run = std::move(prepared.run)] { run(1); });
    }

    void run(std::int64_t calls) const {
        for (std::int64_t i = 0; i < calls; ++i)
            for (const auto& step : steps) step();
    }

    double seconds() const {
        using Clock = std::chrono::steady_clock;
        double best = 0;
        for (int i = 0; i < 4; ++i) {
            const auto start = Clock::now();
            run(1);
            const double time = std::chrono::duration<double>(Clock::now() - start).count();
            if (i == 1 || (i > 1 && time < best)) best = time;  // the first warms up
        }
        return best;
    }
};

/// Copies elements in another order. For each axis of the result, of which the last is contiguous: its extent, and its
/// stride in the source.
inline void rearrange(std::byte* to, const std::byte* from, std::int64_t element,
                      const std::vector<std::int64_t>& extents, const std::vector<std::int64_t>& steps) {
    std::int64_t count = 1;
    for (const std::int64_t n : extents) count *= n;
    for (std::int64_t i = 0; i < count; ++i) {
        std::int64_t rest = i, at = 0;
        for (std::size_t axis = extents.size(); axis-- > 0; rest /= extents[axis])
            at += rest % extents[axis] * steps[axis];
        std::memcpy(to + i * element, from + at * element, static_cast<std::size_t>(element));
    }
}

/// dst[i][j] = src[j][i], with the extents, and the strides of both in elements.
template <class From, class To, class Convert>
void transpose(const From* src, To* dst, std::int64_t rows, std::int64_t columns, std::int64_t src_step,
               std::int64_t dst_step, Convert convert) {
    constexpr std::int64_t kTile = 16;
    for (std::int64_t i = 0; i < rows; i += kTile)
        for (std::int64_t j = 0; j < columns; j += kTile)
            for (std::int64_t r = i; r < std::min(i + kTile, rows); ++r)
                for (std::int64_t c = j; c < std::min(j + kTile, columns); ++c)
                    dst[r * dst_step + c] = convert(src[c * src_step + r]);
}

/// The fastest of several ways to compose a layer of the peer's products, found by a few calls of each. A way that
/// throws Unsupported is left out; if all do, this throws it.
template <class Make>
std::shared_ptr<Composition> fastest(const std::vector<Make>& ways) {
    std::shared_ptr<Composition> best;
    double time = 0;
    std::string why = "no composition";
    for (const Make& make : ways) try {
            const std::shared_ptr<Composition> made = make();
            const double t = made->seconds();
            if (!best || t < time) best = made, time = t;
        } catch (const Unsupported& e) {
            why = e.what();
        }
    if (!best) throw Unsupported(why);
    return best;
}

/// Layers with their gradients.
Prepared prepare_gradients(const Problem& problem, const Operands& operands, bool fused);
Prepared compose_gradients(const Peer& peer, const Problem& problem, const Operands& operands);

}  // namespace bench
