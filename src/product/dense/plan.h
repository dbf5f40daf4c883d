// How a blocked product is cut: which kernels, which tasks. Any plan gives the same bits.
#pragma once

#include <cstddef>

#include "product/dense/kernels.h"
#include "product/dense/lower.h"
#include "product/dense/tile_store.h"

namespace tenon::product::dense {

/// Elements of k in a block, and blocks' widths in bytes of a row of packed B: kBlockK * kChunkBytes is 768 KiB, which
/// stays in L2 beside the panel of A.
inline constexpr std::int64_t kChunkBytes = 2048;
/// Most rows whose sums wait in scratch for later segments; B is packed again for the next ones.
inline constexpr std::int64_t kScratchRows = 512;
/// Where batches interleave, rows are taken so many at a time that their part of all batches stays in L2.
inline constexpr std::int64_t kInterleavedBytes = 512 << 10;

/// A panel of B that spans no more than this, and so stays in L1 or the nearest part of L2, is as good as a packed one.
inline constexpr std::int64_t kCompactBytes = 32 << 10;

/// Rows this far apart or more are prefetched: the hardware follows no stride beyond a page.
inline constexpr std::int64_t kFarBytes = 2048;

struct Range {
    std::int64_t begin, end;
    std::int64_t size() const { return end - begin; }
    friend bool operator==(const Range&, const Range&) = default;
};

/// Part i of [0, n) cut into `parts` as equal as can be.
inline Range part(std::int64_t n, std::int64_t parts, std::int64_t i) { return {n * i / parts, n * (i + 1) / parts}; }

inline std::int64_t ceil_div(std::int64_t n, std::int64_t d) { return (n + d - 1) / d; }

template <class T>
struct Plan {
    Lowered p;
    const KernelSet<T>* kernels;
    KernelFamily<T> family;  // of the panels; the last one may take a narrower kernel
    Pack<T> pack;
    const DotKernel<T>* dot;  // by rows - 1, for few rows where B's columns run along k; else null
    StoreTile<T> store;
    bool same_source;  // operands are stored as T
    bool sums_fit;  // the output's elements are sums: T, but for signedness
    bool in_output;  // block sums are added in the output itself, else in scratch
    bool pairs;  // the bfloat16 law
    bool split_k;  // a segment is a task of its own
    bool batch_inner;  // batches lie interleaved in memory: all of them for some rows, then the next rows
    std::int64_t segments, row_tasks, column_tasks, chunk;

    std::int64_t panels() const { return ceil_div(p.n, family.nr); }
    std::int64_t tiles() const { return p.batches * row_tasks * column_tasks; }
};

/// The smallest family whose panels hold `columns`, among those as tall as the plan's.
template <class T>
const KernelFamily<T>& family_for(const Plan<T>& plan, std::int64_t columns) {
    for (const KernelFamily<T>* family : {&plan.kernels->narrow, &plan.kernels->standard})
        if (columns <= family->nr && family->nr <= plan.family.nr) return *family;
    return plan.family;
}

/// Fills the choices that depend on sizes and on the number of threads.
template <class T>
void choose_tasks(Plan<T>& plan, int threads);

extern template void choose_tasks(Plan<float>&, int);
extern template void choose_tasks(Plan<double>&, int);
extern template void choose_tasks(Plan<std::uint32_t>&, int);
extern template void choose_tasks(Plan<std::uint64_t>&, int);

}  // namespace tenon::product::dense
