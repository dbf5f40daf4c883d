// What the micro-kernels share: steps beside which lines of memory are prefetched, and the write-back of a tile of
// sums. Everything is in an unnamed namespace: see simd.h.
#pragma once

#include <cassert>

#include "product/dense/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

/// A vector type whose kernels take rows of A that are adjacent (KernelSet::adjacent).
template <class V>
struct AdjacentRows : V {
    static constexpr bool kAdjacentRows = true;
};
template <class V>
inline constexpr bool kAdjacent = requires {
    V::kAdjacentRows;
};

TENON_INLINE std::int64_t least_of(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// Takes steps that each move a by `stride`, at most `steps` of them, while lines are left: before each it prefetches
/// one, or two that are `second` apart. The loop ends by a's address: a counter would need one more register than a
/// large tile leaves.
template <bool kTwo, class In, class Step>
TENON_INLINE void steps_with_lines(PrefetchLines* shared, const In*& a, std::int64_t stride, std::int64_t steps,
                                   Step step) {
    if (!shared || shared->left <= 0) return;
    PrefetchLines lines = *shared;
    const std::int64_t n = least_of(steps, lines.left);
    const In* const last = a + n * stride;
    while (a != last) {
        __builtin_prefetch(lines.at, 0, 2);
        if constexpr (kTwo) __builtin_prefetch(lines.at + lines.second, 0, 2);
        lines.at += lines.step;
        if (--lines.left_in_run == 0) lines.at += lines.jump, lines.left_in_run = lines.run;
        step();
    }
    lines.left -= n;
    *shared = lines;
}

/// Which vectors of a tile's columns are whole: all, all except the last, or none for certain.
enum class Edge : std::uint8_t { none, last, any };
constexpr bool is_masked(Edge edge, int vector, int vectors) {
    return edge == Edge::any || (edge == Edge::last && vector == vectors - 1);
}

/// Stores past the caches if asked to, and if the vector type can.
template <bool kNontemporal, class V>
TENON_INLINE void store_sums(typename V::Acc* p, typename V::Reg x) {
    if constexpr (kNontemporal && requires { V::store_nontemporal(p, x); })
        V::store_nontemporal(p, x);
    else
        V::store(p, x);
}

/// Stores a tile's sums, or adds them to c. Addresses are computed from row to row, and the asm keeps the compiler from
/// hoisting them: the addresses of many rows need more registers than there are.
template <class V, bool kAdd, Edge kEdge = Edge::none, bool kNontemporal = false, int MR, int NV>
TENON_INLINE void write_tile(const typename V::Reg (&acc)[MR][NV], typename V::Acc* c, std::int64_t ldc,
                             [[maybe_unused]] const typename V::Mask* masks = nullptr) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i, c += ldc) {
        if constexpr (MR * NV > 8) asm("" : "+r"(c));
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            typename V::Acc* p = c + j * V::kLanes;
            typename V::Reg x = acc[i][j];
            if (is_masked(kEdge, j, NV)) {
                if constexpr (kAdd) x = V::add(V::load(p, masks[j]), x);
                V::store(p, x, masks[j]);
            } else {
                if constexpr (kAdd) x = V::add(V::load(p), x);
                store_sums<kNontemporal, V>(p, x);
            }
        }
    }
}

}  // namespace
}  // namespace tenon::product::dense
