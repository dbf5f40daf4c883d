// Micro-kernels, one source for all instruction sets. Everything is in an unnamed namespace: see simd.h.
#pragma once

#include "product/dense/dot_kernel.h"
#include "product/dense/kernel_steps.h"
#include "product/dense/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

/// One step of k: rank-1 update of the MR x NV vectors.
template <class V, int MR, int NV, Edge kEdge>
TENON_INLINE void update(typename V::Reg (&acc)[MR][NV], const typename V::In* a, const std::int64_t* pitches,
                         const typename V::In* b, std::int64_t gap, [[maybe_unused]] const typename V::Mask* masks) {
    typename V::InReg columns[NV];
#pragma GCC unroll 16
    for (int j = 0; j < NV; ++j) {
        const typename V::In* const at = b + j / 2 * gap + j % 2 * V::kLanes;
        columns[j] = is_masked(kEdge, j, NV) ? V::load_in(at, masks[j]) : V::load_in(at);
#if defined(__AVX512F__)
        // Kept in a register: a few rows would otherwise read it from memory again, a cycle each.
        if constexpr (MR > 1) asm("" : "+v"(columns[j]));
#endif
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        const typename V::InReg row = V::broadcast(at_bytes(a, pitches[i]));
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) acc[i][j] = V::fma(row, columns[j], acc[i][j]);
    }
}

/// The block length from which sums are prefetched during the block, and how long before its end: they come from memory
/// in that time, and are still in the nearest cache when they are needed. Where rows are a multiple of 4 KB apart, many
/// lines share a set, and sums that were asked for at the start would be thrown out of L2 again.
constexpr std::int64_t kFetchSteps = 64, kSumsAhead = 64;

/// Lines that are prefetched spread out come every kSpread steps.
template <class V, int MR, int NV, bool kPairs, Edge kEdge, bool kFetch, int kSpread = kSpreadSteps>
TENON_INLINE void multiply_tile(const Block& block, const typename V::In* a, const typename V::In* b,
                                typename V::Acc* c) {
    using Acc = typename V::Acc;
    typename V::Mask masks[NV] = {};
    if constexpr (kEdge != Edge::none) V::first_of_each(block.columns, masks);
    std::int64_t pitches[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        if constexpr (requires { V::kPitch; })
            pitches[i] = i * V::kPitch;
        else
            pitches[i] = i * (kAdjacent<V> ? std::int64_t{sizeof(typename V::In)} : block.lda);
    }
    // Elements from one k of A to the next.
    std::int64_t a_step = 1;
    if constexpr (kAdjacent<V>) a_step = block.lda / std::int64_t{sizeof(typename V::In)};
    const std::int64_t ldb = block.ldb, ldc = block.ldc, gap = block.gap != 0 ? block.gap : 2 * V::kLanes;
    typename V::Reg acc[MR][NV] = {};
    constexpr int kUnit = kPairs ? 2 : 1;
    const auto step = [&]() __attribute__((always_inline)) {
        if constexpr (kPairs) {
            update<V, MR, NV, kEdge>(acc, a + 1, pitches, b + ldb, gap, masks);
            update<V, MR, NV, kEdge>(acc, a, pitches, b, gap, masks);
        } else {
            update<V, MR, NV, kEdge>(acc, a, pitches, b, gap, masks);
        }
        a += kUnit * a_step, b += kUnit * ldb;
    };
    // The loops end by a's address: a counter would need one more register than there is.
    assert(a_step != 0);
    const typename V::In* const end = a + block.kc * a_step;
    std::int64_t left = block.kc;
    // The sums are needed at the end and may be far away. They are prefetched one row in each step: all at once they
    // would delay the loads of b. Short blocks begin with that.
    const auto prefetch_sums = [&]() __attribute__((always_inline)) {
        const Acc* row = c;
        for (int i = 0; i < MR; ++i, row += ldc) {
            for (int j = 0; j < NV * V::kLanes; j += 64 / int{sizeof(Acc)}) __builtin_prefetch(row + j, 0, 3);
            step();
        }
    };
    const bool wants_sums = kEdge == Edge::none && (kFetch || NV > 1) && block.kc >= kFetchSteps && !block.in_cache;
    const typename V::In* before_sums = end;
    if (wants_sums) before_sums = block.kc >= 2 * kSumsAhead ? end - kSumsAhead * a_step : a;
    if constexpr (kFetch) {
        if (wants_sums && (before_sums == a || block.ahead != 0)) {
            prefetch_sums();
            left -= MR * kUnit;
            before_sums = end;
        } else if (wants_sums) {
            left -= kSumsAhead;
        }
        if (block.lines && block.lines->spread) {
            steps_with_lines<false>(
                block.lines, a, kUnit * kSpread * a_step,
                left / (kUnit * kSpread), [&]() __attribute__((always_inline)) {
#pragma GCC unroll 4
                    for (int i = 0; i < kSpread; ++i) step();
                });
        } else if (NV == kStandardVectors && block.lines && block.lines->two) {
            steps_with_lines<NV == kStandardVectors>(block.lines, a, kUnit * a_step, left / kUnit, step);
        } else {
            steps_with_lines<false>(block.lines, a, kUnit * a_step, left / kUnit, step);
        }
        if (const std::int64_t ahead = block.ahead; ahead != 0) {
            constexpr int kLine = 64 / int{sizeof(typename V::In)};
            while (a != end) {
#pragma GCC unroll 16
                for (int j = 0; j < NV * V::kLanes; j += kLine) __builtin_prefetch(b + ahead + j, 0, 2);
                step();
            }
        }
    }
    while (a != before_sums) step();
    if (a != end) {
        prefetch_sums();
        while (a != end) step();
    }
    if (block.write == Write::subtract) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) acc[i][j] = -acc[i][j];
    }
    if constexpr (kFetch) {
        if (block.nontemporal) return write_tile<V, false, kEdge, true>(acc, c, ldc, masks);
    }
    if (block.write == Write::store)
        write_tile<V, false, kEdge>(acc, c, ldc, masks);
    else
        write_tile<V, true, kEdge>(acc, c, ldc, masks);
}

/// Whole tiles that prefetch meanwhile, and long ones of one vector. They are separate functions, so that other tiles
/// keep their registers and small tiles are nothing but arithmetic.
template <class V, int MR, int NV, bool kPairs, int kSpread>
[[gnu::noinline]] void fetching_kernel(const Block& block, const typename V::In* a, const typename V::In* b,
                                       typename V::Acc* c) {
    multiply_tile<V, MR, NV, kPairs, Edge::none, true, kSpread>(block, a, b, c);
}

template <class V, int MR, int NV, bool kPairs, bool kTail, int kSpread = kSpreadSteps>
void micro_kernel(const Block& block, const typename V::In* a, const typename V::In* b, typename V::Acc* c) {
    if constexpr (kTail) {
        // Masked loads and stores cost more. For other types and instruction sets a second copy of the kernels is not
        // worth its size.
        constexpr bool kSplit = kVectorBytes == 64 && NV > 1 && __is_same(typename V::In, typename V::Acc) &&
                                typename V::Acc(0.5) != typename V::Acc(0) && !kPairs;
        if (kSplit && block.columns > (NV - 1) * V::kLanes)
            multiply_tile<V, MR, NV, kPairs, kSplit ? Edge::last : Edge::any, false>(block, a, b, c);
        else
            multiply_tile<V, MR, NV, kPairs, Edge::any, false>(block, a, b, c);
    } else {
        const bool fetches = NV == 1 && block.kc >= kFetchSteps && !block.in_cache;
        if (block.ahead != 0 || (block.lines && block.lines->left > 0) || fetches || block.nontemporal)
            return fetching_kernel<V, MR, NV, kPairs, kSpread>(block, a, b, c);
        multiply_tile<V, MR, NV, kPairs, Edge::none, false>(block, a, b, c);
    }
}

template <class V, int MR, int NV, bool kPairs, int kSpread = kSpreadSteps>
struct Family {
    using Kernel = MicroKernel<typename V::In, typename V::Acc>;
    template <class>
    struct Table;
    template <int... R>
    struct Table<std::integer_sequence<int, R...>> {
        static constexpr Kernel whole[MR] = {micro_kernel<V, R + 1, NV, kPairs, false, kSpread>...};
        static constexpr Kernel tail[MR] = {micro_kernel<V, R + 1, NV, kPairs, true>...};
    };
    using Rows = Table<std::make_integer_sequence<int, MR>>;
    static constexpr KernelFamily<typename V::In, typename V::Acc> value = {MR, NV* V::kLanes, Rows::whole, Rows::tail};
};

template <class V>
void add_to(typename V::Acc* dst, const typename V::Acc* src, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + V::kLanes <= n; i += V::kLanes) V::store(dst + i, V::add(V::load(dst + i), V::load(src + i)));
    if (i == n) return;
    const typename V::Mask rest = V::first(n - i);
    V::store(dst + i, V::add(V::load(dst + i, rest), V::load(src + i, rest)), rest);
}

/// sums[i] = fma(alpha, sums[i], beta * c[i]); without c, alpha * sums[i].
template <class V>
void scale(typename V::Acc* sums, const typename V::Acc* c, std::int64_t n, typename V::Acc alpha,
           typename V::Acc beta) {
    using Acc = typename V::Acc;
    const typename V::Reg a = V::clean(Vector<Acc>::broadcast(alpha)), b = V::clean(Vector<Acc>::broadcast(beta));
    // x + -0 = x for every x, which turns a fused multiply-add into a multiplication.
    const typename V::Reg nothing = Vector<Acc>::broadcast(-Acc(0));
    for (std::int64_t i = 0; i < n; i += V::kLanes) {
        const typename V::Mask mask = V::first(n - i);
        const typename V::Reg x = V::clean(V::load(sums + i, mask));
        const typename V::Reg y =
            c ? V::fma(a, x, V::fma(b, V::clean(V::load(c + i, mask)), nothing)) : V::fma(a, x, nothing);
        V::store(sums + i, y, mask);
    }
}

// --- few rows as lanes, B's columns contiguous along k ---

/// N columns from column j. `kAsk`: meanwhile the lines of the N columns after them are asked for.
template <class V, int NV, int N, bool kAsk = false>
TENON_INLINE void transposed_columns(const TransposedBlock<typename V::In, typename V::Acc>& t, std::int64_t j) {
    using Acc = typename V::Acc;
    // Of many columns, half have an address of their own: there are not as many registers as columns.
    constexpr int kSteps = N > 8 ? N / 2 : N;
    std::int64_t steps[kSteps];
#pragma GCC unroll 16
    for (int i = 0; i < kSteps; ++i) steps[i] = i * t.step;
    const typename V::In *a = t.a, *b = bytes_after(t.b, j * t.step), *upper = bytes_after(b, kSteps * t.step);
    const std::int64_t pitch = t.pitch;
    typename V::Reg sums[N][NV] = {};
    for (std::int64_t k = 0; k < t.k; k += t.block) {
        typename V::Reg acc[N][NV] = {};
        const auto step = [&]() __attribute__((always_inline)) {
            typename V::InReg rows[NV];
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) rows[v] = V::load_in(a + v * V::kLanes);
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i) {
                const typename V::InReg column = V::broadcast(at_bytes(i < kSteps ? b : upper, steps[i % kSteps]));
#pragma GCC unroll 16
                for (int v = 0; v < NV; ++v) acc[i][v] = V::fma(rows[v], column, acc[i][v]);
            }
            ++b, a += pitch;
            if constexpr (kSteps < N) {
                ++upper;
                asm("" : "+r"(upper));  // or the compiler finds it from b
            }
        };
        const typename V::In* const end = b + least_of(t.block, t.k - k);
        if constexpr (kAsk) {
            constexpr int kLine = 64 / int{sizeof(typename V::In)};
            while (end - b >= kLine) {
#pragma GCC unroll 16
                for (int i = 0; i < N; ++i) __builtin_prefetch(bytes_after(b, (N + i) * t.step), 0, 2);
#pragma GCC unroll 1
                for (int i = 0; i < kLine; ++i) step();
            }
        }
        while (b != end) step();
        for (int i = 0; i < N; ++i)
            for (int v = 0; v < NV; ++v) sums[i][v] = k == 0 ? acc[i][v] : V::add(sums[i][v], acc[i][v]);
    }
    Acc lanes[N][NV * V::kLanes];
    for (int i = 0; i < N; ++i)
        for (int v = 0; v < NV; ++v)
            V::store(lanes[i] + v * V::kLanes, t.write == Write::subtract ? -sums[i][v] : sums[i][v]);
    for (std::int64_t row = 0; row < t.rows; ++row) {
        Acc* const c = t.c + row * t.ldc + j;
        for (int i = 0; i < N; ++i) c[i] = t.write == Write::store ? lanes[i][row] : c[i] + lanes[i][row];
    }
}

/// Whether `left` columns, of which few remain, are not ten and more, but whole eights.
TENON_INLINE bool are_eights(std::int64_t left) { return left <= 32 && left % 8 == 0; }

/// As many columns at a time as hide the latency of additions, but no more than a set of the nearest cache has lines:
/// columns are often a multiple of 4 KB apart.
template <class V, int NV, bool kAsk>
TENON_INLINE void transposed_all(const TransposedBlock<typename V::In, typename V::Acc>& t) {
    constexpr int kColumns = NV == 1 ? 8 : 6;
    std::int64_t j = 0;
    if constexpr (NV == 1 && kVectorBytes == 64)
        if (t.ten)
            for (; j + 10 <= t.columns && !are_eights(t.columns - j); j += 10)
                transposed_columns<V, NV, 10, kAsk>(t, j);
    for (; j + kColumns <= t.columns; j += kColumns) transposed_columns<V, NV, kColumns, kAsk>(t, j);
    for (; j + 2 <= t.columns; j += 2) transposed_columns<V, NV, 2>(t, j);
    if (j < t.columns) transposed_columns<V, NV, 1>(t, j);
}
template <class V, int NV>
void transposed_kernel(const TransposedBlock<typename V::In, typename V::Acc>& t) {
    if constexpr (kVectorBytes == 64)
        if (t.ask) return transposed_all<V, NV, true>(t);
    transposed_all<V, NV, false>(t);
}

template <class V>
constexpr void accept_transposed(KernelSet<typename V::In, typename V::Acc>& set) {
    set.transposed[1] = transposed_kernel<V, 1>, set.transposed[2] = transposed_kernel<V, 2>;
    for (int source = 0; source < kSourceCount; ++source) set.transposed_a[source] = set.across[source];
}

// --- few rows, B's columns adjacent ---

/// kGroups groups of k for all columns.
template <class V, class L, int MR, int kGroups, bool kPairs>
void sweep_groups(const SweepBlock<typename V::In, typename V::Acc>& block, std::int64_t k, const typename V::In* a,
                  std::int64_t first = 0) {
    using Lane = typename L::Lane;
    constexpr int n = V::kLanes, kLine = 64 / int{sizeof(Lane)};
    const auto* b = static_cast<const Lane*>(block.b);
    const std::int64_t *offsets = block.k_offsets + k, left = block.k - k;
    const auto in_group = [&](int g) {
        const std::int64_t rest = left - g * L::kGroup;
        return static_cast<int>(rest < L::kGroup ? rest : L::kGroup);
    };
    // The next rows; the last rows prefetch themselves again. One row of bytes needs no more than the hardware
    // prefetches.
    const std::int64_t* next = offsets + (left >= 2 * kGroups * L::kGroup ? kGroups * L::kGroup : 0);
    const bool fetch = block.fetch && (MR > 1 || sizeof(Lane) > 1);
    std::int64_t j = first;
    const auto ask = [&]() __attribute__((always_inline)) {
        if (fetch && j % kLine == 0)
#pragma GCC unroll 16
            for (int g = 0; g < kGroups * L::kGroup; ++g)
                if (g < left) __builtin_prefetch(b + next[g] + j, 0, 2);
    };
    const auto multiply = [&](typename V::InReg(&columns)[kGroups], std::int64_t at) __attribute__((always_inline)) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            typename V::Acc* c = block.c + i * block.ldc + at;
            typename V::Reg sum = V::load(c);
#pragma GCC unroll 16
            for (int g = 0; g < kGroups; ++g) {
                const int from = kPairs ? g ^ 1 : g;
                sum = V::fma(V::broadcast(at_bytes(a + from, i * block.lda)), columns[from], sum);
            }
            V::store(c, sum);
        }
    };
    if constexpr (requires { L::kTwo; }) {
        if (left >= kGroups * L::kGroup)
            for (; j + 2 * n <= block.columns; j += 2 * n) {
                ask();
                typename V::InReg columns[kGroups], after[kGroups];
#pragma GCC unroll 16
                for (int g = 0; g < kGroups; ++g) L::two(columns[g], after[g], b + j, offsets + g * L::kGroup);
                multiply(columns, j);
                multiply(after, j + n);
            }
    }
    for (; j + n <= block.columns; j += n) {
        ask();
        typename V::InReg columns[kGroups];
#pragma GCC unroll 16
        for (int g = 0; g < kGroups; ++g) columns[g] = L::across(b + j, offsets + g * L::kGroup, in_group(g));
        multiply(columns, j);
    }
    if (j == block.columns) return;
    const typename V::Mask mask = V::first(block.columns - j);
    for (int i = 0; i < MR; ++i) {
        typename V::Acc* c = block.c + i * block.ldc + j;
        typename V::Reg sum = V::load(c, mask);
        for (int g = 0; g < kGroups; ++g) {
            const int at = kPairs ? g ^ 1 : g;
            const auto column = L::across_first(b + j, offsets + at * L::kGroup, in_group(at), block.columns - j);
            sum = V::fma(V::broadcast(at_bytes(a + at, i * block.lda)), column, sum);
        }
        V::store(c, sum, mask);
    }
}

/// Whether B is stored as the kernels read it.
template <class V, class L>
constexpr bool kInPlace = L::kGroup == 1 && __is_same(typename L::Lane, typename V::In);

/// One row, kRows rows of B at a time, kRun vectors of each in turn. Returns how many columns it took.
template <class V, int kRows, int kRun>
std::int64_t sweep_runs(const SweepBlock<typename V::In, typename V::Acc>& block, std::int64_t k,
                        const typename V::In* a) {
    constexpr int n = V::kLanes;
    const typename V::In* lines[kRows];
    typename V::InReg row[kRows];
#pragma GCC unroll 16
    for (int g = 0; g < kRows; ++g)
        lines[g] = static_cast<const typename V::In*>(block.b) + block.k_offsets[k + g], row[g] = V::broadcast(a[g]);
    const std::int64_t columns = block.columns;
    typename V::Acc* const c = block.c;
    std::int64_t j = 0;
    for (; j + kRun * n <= columns; j += kRun * n) {
        typename V::Reg sums[kRun];
#pragma GCC unroll 16
        for (int v = 0; v < kRun; ++v) sums[v] = V::load(c + j + v * n);
#pragma GCC unroll 16
        for (int g = 0; g < kRows; ++g)
#pragma GCC unroll 16
            for (int v = 0; v < kRun; ++v) sums[v] = V::fma(row[g], V::load_in(lines[g] + j + v * n), sums[v]);
#pragma GCC unroll 16
        for (int v = 0; v < kRun; ++v) V::store(c + j + v * n, sums[v]);
    }
    return j;
}

template <class V, class L, int MR, bool kPairs>
void sweep_kernel(const SweepBlock<typename V::In, typename V::Acc>& block) {
    // As many rows of B at once as the hardware prefetcher follows.
    constexpr int kGroups = L::kGroup == 1 ? 8 : 4;
    for (int i = 0; i < MR; ++i)
        for (std::int64_t j = 0; j < block.columns; ++j) block.c[i * block.ldc + j] = typename V::Acc(0);
    const typename V::In* a = block.a;
    std::int64_t k = 0;
    if constexpr (MR == 1 && kInPlace<V, L>) {
        if (block.many_rows)
            for (; k + 8 <= block.k; k += 8, a += 8)
                sweep_groups<V, L, MR, 8, kPairs>(block, k, a, sweep_runs<V, 8, 2>(block, k, a));
        for (; k + 4 <= block.k; k += 4, a += 4)
            sweep_groups<V, L, MR, 4, kPairs>(block, k, a, sweep_runs<V, 4, 4>(block, k, a));
    }
    for (; k + kGroups * L::kGroup <= block.k; k += kGroups * L::kGroup, a += kGroups)
        sweep_groups<V, L, MR, kGroups, kPairs>(block, k, a);
    for (; k < block.k; k += L::kGroup, ++a) {
        if (kPairs && k + 1 < block.k) {
            sweep_groups<V, L, MR, 2, true>(block, k, a);
            ++k, ++a;
        } else if (kPairs) {
            // The missing odd element counts as a product of zeros: -0 + (+0) becomes +0.
            for (int i = 0; i < MR; ++i)
                for (std::int64_t j = 0; j < block.columns; ++j) block.c[i * block.ldc + j] += typename V::Acc(0);
            sweep_groups<V, L, MR, 1, false>(block, k, a);
        } else {
            sweep_groups<V, L, MR, 1, false>(block, k, a);
        }
    }
}

template <class V, class L, bool kPairs, int... R>
constexpr void accept_few(KernelSet<typename V::In, typename V::Acc>& set, Source source,
                          std::integer_sequence<int, R...>) {
    ((set.dot[static_cast<int>(source)][R] = dot_kernel<V, L, R + 1, kPairs>), ...);
    if constexpr (typename V::Acc(0.5) == typename V::Acc(0))
        set.dot[static_cast<int>(source)][0] = dot_row_kernel<V, L>;
    // Elements that the micro-kernel reads in place come here with one row only (ways.h).
    const auto accept_sweep = [&]<int kRow>() {
        if constexpr (kRow == 0 || !kInPlace<V, L>)
            set.sweep[static_cast<int>(source)][kRow] = sweep_kernel<V, L, kRow + 1, kPairs>;
    };
    (accept_sweep.template operator()<R>(), ...);
}

template <class V, bool kPairs = false>
constexpr KernelSet<typename V::In, typename V::Acc> kernel_set(int group = 1) {
    KernelSet<typename V::In, typename V::Acc> set = {};
    set.group = group, set.lanes = V::kLanes;
    set.narrow = Family<V, kStandardRows, (kStandardVectors + 1) / 2, kPairs>::value;
    set.standard = Family<V, kStandardRows, kStandardVectors, kPairs>::value;
    set.wide = Family<V, kWideRows, kWideVectors, kPairs>::value;
    if constexpr (kWideRows >= 6) set.panel = Family<V, kWideRows, kWideVectors, kPairs, kRowSteps>::value;
    for (int i = 0; i < 4; ++i) set.in_cache_rows[i] = kInCacheRows[i];
    set.add_to = add_to<V>;
    if constexpr (typename V::Acc(0.5) != typename V::Acc(0)) set.scale = scale<typename V::Sums>;
    return set;
}

}  // namespace
}  // namespace tenon::product::dense
