// Kernels of few rows with columns of B that are contiguous along k, which are transposed in registers. Everything is
// in an unnamed namespace: see simd.h.
#pragma once

#include "product/dense/kernel_steps.h"
#include "product/dense/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

/// The first elements of N columns from column j; past the last column, the last one again.
template <class Lane, int N, class In, class Acc>
TENON_INLINE void find_lines(const Lane* (&lines)[N], const DotBlock<In, Acc>& block, std::int64_t j) {
    for (int r = 0; r < N; ++r)
        lines[r] = static_cast<const Lane*>(block.b) + block.column_offsets[least_of(j + r, block.columns - 1)];
}

/// Writes the sums of MR rows from column j on.
template <class V, int MR>
TENON_INLINE void store_sums(const DotBlock<typename V::In, typename V::Acc>& block, std::int64_t j,
                             const typename V::Reg (&sums)[MR]) {
    const typename V::Mask mask = V::first(block.columns - j);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        typename V::Acc* const c = block.c + i * block.ldc + j;
        const typename V::Reg sum = block.write == Write::subtract ? -sums[i] : sums[i];
        V::store(c, block.write == Write::store ? sum : V::add(V::load(c, mask), sum), mask);
    }
}

template <class V, class L, int MR, bool kPairs>
TENON_INLINE void dot_square(typename V::Reg (&acc)[MR], const typename V::In* a, std::int64_t lda,
                             typename V::InReg* square, std::int64_t groups) {
    constexpr int n = V::kLanes;
    transpose<n / 2, n>(square);
#pragma GCC unroll 16
    for (int step = 0; step < n; ++step) {
        const int k = kPairs ? step ^ 1 : step;
        if (step >= groups) break;
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) acc[i] = V::fma(V::broadcast(at_bytes(a + k, i * lda)), square[k], acc[i]);
    }
}

/// As many runs of memory as a vector has lanes are read at once, more than the CPU follows without a gap where each
/// comes to the end of a page. Of columns from beyond L2 the lines are asked for ahead.
/// Measured on an Emerald Rapids, one row of 4096 x 4096: float64 1.17 times as fast from memory and 1.1 from L3,
/// float32 1.15 and 1.0; twice and two thirds of the distance are within 2 %. From L2 asking takes 1.05 to 1.1 of the
/// time, and so does it for bfloat16 from L3, whose shuffles leave no time for it.
template <class V, class L>
struct ColumnsAhead {
    using Lane = typename L::Lane;
    static constexpr bool kPays = sizeof(typename V::InReg) == 64 && L::kGroup == 1;
    static constexpr std::int64_t kDistance = 1536 / int{sizeof(Lane)};

    const Lane* const* lines;
    const Lane* const* next;  // the columns after these
    std::int64_t depth;  // elements of a column

    TENON_INLINE void ask(std::int64_t k) const {
        const std::int64_t at = k + kDistance;
        const Lane* const* const from = at < depth ? lines : next;
        const std::int64_t offset = at < depth ? at : at < 2 * depth ? at - depth : 0;
#pragma GCC unroll 16
        for (int r = 0; r < V::kLanes; ++r) __builtin_prefetch(from[r] + offset);
    }
};

/// Sums the chain of elements from first to last, and advances a.
template <class V, class L, int MR, bool kPairs, bool kAsk>
TENON_INLINE void dot_chain(typename V::Reg (&acc)[MR], const typename V::In*& a, std::int64_t lda,
                            const ColumnsAhead<V, L>& columns, std::int64_t first, std::int64_t last) {
    constexpr int n = V::kLanes;
    constexpr std::int64_t kStep = n * L::kGroup;
    const typename L::Lane* const* const lines = columns.lines;
    typename V::InReg square[n];
    std::int64_t k = first;
    for (; k + kStep <= last; k += kStep, a += n) {
        if constexpr (kAsk) columns.ask(k);
#pragma GCC unroll 16
        for (int r = 0; r < n; ++r) square[r] = L::along(lines[r] + k);
        dot_square<V, L, MR, kPairs>(acc, a, lda, square, n);
    }
    if (k == last) return;
    const std::int64_t left = last - k, groups = (left + L::kGroup - 1) / L::kGroup;
    for (int r = 0; r < n; ++r) square[r] = L::along_first(lines[r] + k, left);
    // The missing odd element of a last pair counts as zero in both operands.
    dot_square<V, L, MR, kPairs>(acc, a, lda, square, kPairs ? (groups + 1) / 2 * 2 : groups);
}

/// One row of integers, whose sums are exact in any order: lanes are elements of k, and only the sums are transposed.
/// Two steps of half as many columns as a vector has lanes: as many lines at once would not fit one set of the nearest
/// cache, on which columns a multiple of 4 KB apart fall (Zen 5, 4096 x 4096 from the last level: 0.82 of the time).
template <class V, class L>
void dot_row_kernel(const DotBlock<typename V::In, typename V::Acc>& block) {
    using Lane = typename L::Lane;
    constexpr int n = V::kLanes, kColumns = n / 2;
    constexpr std::int64_t kStep = n * L::kGroup;
    for (std::int64_t j = 0; j < block.columns; j += n) {
        const Lane* lines[n];
        find_lines(lines, block, j);
        typename V::Reg totals[n];
        for (int first = 0; first < n; first += kColumns) {
            typename V::Reg sums[n] = {};
            const typename V::In* a = block.a;
            std::int64_t k = 0;
            for (; k + 2 * kStep <= block.k; k += 2 * kStep, a += 2 * n) {
                const typename V::InReg row = V::load_in(a), next = V::load_in(a + n);
#pragma GCC unroll 16
                for (int r = 0; r < kColumns; ++r) {
                    sums[r] = V::fma(row, L::along(lines[first + r] + k), sums[r]);
                    sums[kColumns + r] = V::fma(next, L::along(lines[first + r] + k + kStep), sums[kColumns + r]);
                }
            }
            for (; k < block.k; k += kStep, a += n) {
                const std::int64_t left = least_of(block.k - k, kStep);
                const typename V::InReg row = V::load_in(a, V::first((left + L::kGroup - 1) / L::kGroup));
                for (int r = 0; r < kColumns; ++r)
                    sums[r] = V::fma(row, L::along_first(lines[first + r] + k, left), sums[r]);
            }
#pragma GCC unroll 16
            for (int r = 0; r < kColumns; ++r) totals[first + r] = sums[r] + sums[kColumns + r];
        }
        transpose<n / 2, n>(totals);
        typename V::Reg sum[1] = {totals[0]};
        for (int r = 1; r < n; ++r) sum[0] += totals[r];
        store_sums<V>(block, j, sum);
    }
}

/// One row: the chains of two blocks at a time, since each waits for its own sums. Returns how much of k it took, and
/// advances a. On a Zen 5, 1024 columns of 4096 take 0.82 of the time in bfloat16 from the last level, and 0.89 in
/// float32, 256 of 768 in float32 0.71; but 3072 columns of bfloat16, more than the last level keeps, 1.3: these are
/// too many runs of memory.
template <class V, class L>
TENON_INLINE std::int64_t two_chains(typename V::Reg& sum, const typename V::In*& a,
                                     const DotBlock<typename V::In, typename V::Acc>& block,
                                     const typename L::Lane* const* lines) {
    constexpr int n = V::kLanes;
    constexpr std::int64_t kStep = n * L::kGroup;
    std::int64_t k = 0;
    if (block.block > block.k / 2 || block.block % kStep != 0) return k;
    for (; k + 2 * block.block <= block.k; k += 2 * block.block, a += block.block / L::kGroup) {
        typename V::Reg chains[2][1] = {};
        for (std::int64_t i = 0; i < block.block; i += kStep, a += n)
#pragma GCC unroll 2
            for (int c = 0; c < 2; ++c) {
                typename V::InReg square[n];
#pragma GCC unroll 16
                for (int r = 0; r < n; ++r) square[r] = L::along(lines[r] + k + c * block.block + i);
                dot_square<V, L, 1, false>(chains[c], a + c * block.block / L::kGroup, 0, square, n);
            }
        sum = k == 0 ? chains[0][0] : V::add(sum, chains[0][0]);
        sum = V::add(sum, chains[1][0]);
    }
    return k;
}

/// All of k for some columns before the next columns: memory is read in long runs.
template <class V, class L, int MR, bool kPairs, bool kAsk>
void dot_columns(const DotBlock<typename V::In, typename V::Acc>& block) {
    using Lane = typename L::Lane;
    constexpr int n = V::kLanes;
    for (std::int64_t j = 0; j < block.columns; j += n) {
        const Lane *lines[n], *next[n];
        find_lines(lines, block, j);
        if constexpr (kAsk) find_lines(next, block, j + n);
        const ColumnsAhead<V, L> columns{lines, next, block.k};
        typename V::Reg sums[MR] = {};
        const typename V::In* a = block.a;
        std::int64_t k = 0;
        if constexpr (MR == 1 && !kPairs && V::kLanes == 16 && sizeof(Lane) * L::kGroup == 4)
            if (block.two_chains) k = two_chains<V, L>(sums[0], a, block, lines);
        for (; k < block.k; k += block.block) {
            typename V::Reg acc[MR] = {};
            dot_chain<V, L, MR, kPairs, kAsk>(acc, a, block.lda, columns, k, k + least_of(block.block, block.k - k));
            for (int i = 0; i < MR; ++i) sums[i] = k == 0 ? acc[i] : V::add(sums[i], acc[i]);
        }
        store_sums<V>(block, j, sums);
    }
}

/// Columns from memory that are a multiple of 4 KB apart: half of the columns are half of the blocks ahead. A line of
/// each of sixteen, asked for at the same time, would not fit one set of the nearest cache. On a Zen 5, one row of 4096
/// x 4096 takes 0.78 of the time in float32; from the last level, 1.08.
template <class V, class L, int MR>
struct TurnedColumns {
    using In = typename V::In;
    using InReg = typename V::InReg;
    using Reg = typename V::Reg;
    using Lane = typename L::Lane;
    using Block = DotBlock<In, typename V::Acc>;
    static constexpr int n = V::kLanes, kHalf = n / 2;
    static constexpr bool kPays = n == 16 && sizeof(Lane) * L::kGroup == 4;
    static constexpr std::int64_t kStep = n * L::kGroup, kDistance = 1024 / int{sizeof(Lane)}, kMostBlocks = 16,
                                  kSetStep = 4096;

    /// Only whole vectors of k, and at least a block for either half of the columns.
    static bool takes(const Block& block) {
        if (!block.from_memory || block.columns < n) return false;
        const std::int64_t step = (block.column_offsets[1] - block.column_offsets[0]) * std::int64_t{sizeof(Lane)};
        return step % kSetStep == 0 && block.k % kStep == 0 && block.block % kStep == 0 && block.k / block.block >= 2 &&
               block.k / block.block <= kMostBlocks && block.k > kDistance;
    }

    explicit TurnedColumns(const Block& given)
        : block(given), whole(given.k / given.block * given.block), turn(given.k / given.block / 2 * given.block) {}

    void run() const {
        for (std::int64_t j = 0; j < block.columns; j += n) {
            const Lane *lines[n], *next[n];
            find_lines(lines, block, j), find_lines(next, block, j + n);
            Reg totals[MR];
            sum_columns(totals, lines, next);
            store_sums<V>(block, j, totals);
        }
    }

  private:
    /// Where the upper half of the columns is when the lower half is at `k`.
    std::int64_t turned(std::int64_t k) const { return k + turn < whole ? k + turn : k + turn - whole; }

    /// All sums of some columns: first those of the last, short block, for all columns alike, then of the others.
    void sum_columns(Reg (&totals)[MR], const Lane* const* lines, const Lane* const* next) const {
        const std::int64_t rest = block.k - whole;
        Reg last[MR] = {}, of_block[kMostBlocks][MR] = {};
        for (std::int64_t k = whole; k < block.k; k += kStep) {
            ask(lines, next, k - whole + kDistance);
            square(last, lines, k, k);
        }
        for (std::int64_t k = 0; k < whole; k += block.block) {
            const std::int64_t upper = turned(k);
            Reg acc[MR] = {};
            for (std::int64_t i = 0; i < block.block; i += kStep) {
                ask(lines, next, rest + k + i + kDistance);
                square(acc, lines, k + i, upper + i);
            }
#pragma GCC unroll 16
            for (int i = 0; i < MR; ++i) {
                Reg &low = of_block[k / block.block][i], &high = of_block[upper / block.block][i];
                low = choose(acc[i], low), high = choose(high, acc[i]);
            }
        }
        for (int i = 0; i < MR; ++i) {
            totals[i] = of_block[0][i];
            for (std::int64_t b = 1; b < whole / block.block; ++b) totals[i] = V::add(totals[i], of_block[b][i]);
            if (rest > 0) totals[i] = V::add(totals[i], last[i]);
        }
    }

    /// The lines that are read after `at` elements of a column, or those of the next columns.
    TENON_INLINE void ask(const Lane* const* lines, const Lane* const* next, std::int64_t at) const {
        const std::int64_t rest = block.k - whole;
        const Lane* const* const from = at < block.k ? lines : next;
        if (at >= block.k) at -= block.k;
        const std::int64_t low = at < rest ? whole + at : at - rest, high = at < rest ? low : turned(low);
#pragma GCC unroll 16
        for (int r = 0; r < kHalf; ++r) __builtin_prefetch(from[r] + low);
#pragma GCC unroll 16
        for (int r = kHalf; r < n; ++r) __builtin_prefetch(from[r] + high);
    }

    TENON_INLINE void square(Reg (&acc)[MR], const Lane* const* lines, std::int64_t low, std::int64_t high) const {
        InReg x[n];
#pragma GCC unroll 16
        for (int r = 0; r < n; ++r) x[r] = L::along(lines[r] + (r < kHalf ? low : high));
        transpose<n / 2, n>(x);
        const In *const a = block.a + low / L::kGroup, *const b = block.a + high / L::kGroup;
#pragma GCC unroll 16
        for (int k = 0; k < n; ++k)
#pragma GCC unroll 16
            for (int i = 0; i < MR; ++i) {
                const In first = at_bytes(a + k, i * block.lda), second = at_bytes(b + k, i * block.lda);
                acc[i] = V::fma(choose(V::broadcast(first), V::broadcast(second)), x[k], acc[i]);
            }
    }

    /// Lanes of the lower half from x, others from y.
    template <class R>
    TENON_INLINE static R choose(R x, R y) {
        typedef std::int32_t Lanes __attribute__((vector_size(64)));
        constexpr Lanes kUpper = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
        return kUpper ? y : x;
    }

    const Block& block;
    const std::int64_t whole, turn;
};

template <class V, class L, int MR, bool kPairs>
void dot_kernel(const DotBlock<typename V::In, typename V::Acc>& block) {
    if constexpr (!kPairs && TurnedColumns<V, L, MR>::kPays)
        if (TurnedColumns<V, L, MR>::takes(block)) return TurnedColumns<V, L, MR>(block).run();
    if constexpr (ColumnsAhead<V, L>::kPays)
        if (block.far) return dot_columns<V, L, MR, kPairs, true>(block);
    dot_columns<V, L, MR, kPairs, false>(block);
}

}  // namespace
}  // namespace tenon::product::dense
