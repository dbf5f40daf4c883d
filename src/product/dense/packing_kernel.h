// A micro-kernel that packs the columns it reads. If rows of B are far apart, the hardware prefetcher does not follow
// them and they share few cache sets. They are therefore read once, prefetched some steps ahead, and written to a panel
// that the next rows of A read. Everything is in an unnamed namespace: see simd.h.
#pragma once

#include "product/dense/kernel_steps.h"
#include "product/dense/kernels.h"
#include "product/dense/micro.h"
#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

/// Columns that are stored as they are read.
template <class V>
struct PlainColumns {
    using Lane = typename V::In;
    static constexpr int kGroup = 1;
};

/// NV vectors of groups from adjacent columns of kGroup rows, `ldb` elements apart.
template <class V, int NV, class L>
TENON_INLINE void load_columns(typename V::InReg (&columns)[NV], const typename L::Lane* b, std::int64_t ldb) {
    if constexpr (L::kGroup == 1) {
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) columns[j] = V::load_in(b + j * V::kLanes);
    } else if constexpr (requires { L::kFour; }) {
        static_assert(NV == 4);
        const std::int64_t rows[] = {0, ldb, 2 * ldb, 3 * ldb};
        L::four(columns, b, rows);
    } else {
        static_assert(NV % 2 == 0);
        const std::int64_t rows[] = {0, ldb};
#pragma GCC unroll 16
        for (int j = 0; j < NV; j += 2) L::two(columns[j], columns[j + 1], b + j * V::kLanes, rows);
    }
}

template <class V, int MR, int NV, class L = PlainColumns<V>>
void packing_kernel(const Block& block, const typename V::In* a, const typename V::In* columns_of_b,
                    typename V::In* packed, typename V::Acc* c) {
    using In = typename V::In;
    using Lane = typename L::Lane;
    constexpr int kLine = 64 / int{sizeof(Lane)};
    const Lane* b = reinterpret_cast<const Lane*>(columns_of_b);
    std::int64_t pitches[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) pitches[i] = i * (kAdjacent<V> ? std::int64_t{sizeof(In)} : block.lda);
    std::int64_t a_step = 1;
    if constexpr (kAdjacent<V>) a_step = block.lda / std::int64_t{sizeof(In)};
    const std::int64_t ldb = block.ldb, ldc = block.ldc, ahead = block.ahead;
    typename V::Reg acc[MR][NV] = {};
    const auto step = [&]() __attribute__((always_inline)) {
        typename V::InReg columns[NV];
        load_columns<V, NV, L>(columns, b, ldb);
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
#if defined(__AVX512F__)
            asm("" : "+v"(columns[j]));
#endif
            if constexpr (L::kGroup == 1)
                V::store(packed + j * V::kLanes, columns[j]);
            else
                Vector<In>::store(packed + j * V::kLanes, columns[j]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < L::kGroup; ++r)
#pragma GCC unroll 16
            for (int j = 0; j < NV * V::kLanes; j += kLine) __builtin_prefetch(b + ahead + r * ldb + j, 0, 2);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            const typename V::InReg row = V::broadcast(at_bytes(a, pitches[i]));
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) acc[i][j] = V::fma(row, columns[j], acc[i][j]);
        }
        a += a_step, b += L::kGroup * ldb, packed += NV * V::kLanes;
    };
    assert(a_step != 0);
    const In* const end = a + block.kc * a_step;
    steps_with_lines<false>(block.lines, a, a_step, block.kc, step);
    while (a != end) step();
    if (block.write == Write::subtract) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) acc[i][j] = -acc[i][j];
    }
    if (block.write == Write::store)
        write_tile<V, false>(acc, c, ldc);
    else
        write_tile<V, true>(acc, c, ldc);
}

template <class V, int NV, class Rows, class L = PlainColumns<V>>
struct PackingTable;
template <class V, int NV, int... R, class L>
struct PackingTable<V, NV, std::integer_sequence<int, R...>, L> {
    static constexpr PackingKernel<typename V::In, typename V::Acc> kernels[] = {packing_kernel<V, R + 1, NV, L>...};
};

template <class V>
constexpr void accept_packing(KernelSet<typename V::In, typename V::Acc>& set) {
    set.packing = PackingTable<V, kStandardVectors, std::make_integer_sequence<int, kStandardRows>>::kernels;
    if constexpr (kWideRows >= 6)
        set.packing_wide = PackingTable<V, kWideVectors, std::make_integer_sequence<int, kWideRows>>::kernels;
}

/// Columns of narrow elements.
template <class V, class L>
constexpr void accept_packing_groups(KernelSet<typename V::In, typename V::Acc>& set, Source source) {
    set.packing_groups[static_cast<int>(source)] =
        PackingTable<V, kWideVectors, std::make_integer_sequence<int, kWideRows>, L>::kernels;
}

/// Kernels as large as `wide` for rows of A that are adjacent.
template <class V>
constexpr void accept_adjacent(KernelSet<typename V::In, typename V::Acc>& set) {
    using A = AdjacentRows<V>;
    set.adjacent = Family<A, kWideRows, kWideVectors, false>::value;
    set.packing_adjacent = PackingTable<A, kWideVectors, std::make_integer_sequence<int, kWideRows>>::kernels;
}

}  // namespace
}  // namespace tenon::product::dense
