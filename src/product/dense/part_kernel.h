// A micro-kernel for part of a block of k: chains pause in c and are resumed from there, so that the columns of a long
// block need not stay in a cache. It reads them where they are for the first rows of A, and packs them for the others.
// Everything is in an unnamed namespace: see simd.h.
#pragma once

#include <utility>

#include "product/dense/kernel_steps.h"
#include "product/dense/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

template <class V, int MR, int NV, bool kPacks>
void part_kernel(const PartBlock& block, const typename V::In* a, const typename V::In* b, typename V::In* packed,
                 typename V::Acc* c) {
    using In = typename V::In;
    std::int64_t pitches[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) pitches[i] = i * block.lda;
    const std::int64_t ldb = block.ldb, ldc = block.ldc, a_step = block.a_step;
    typename V::Reg acc[MR][NV] = {};
    if (block.resumes) {
        const typename V::Acc* from = c;
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i, from += ldc) {
            asm("" : "+r"(from));
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) acc[i][j] = V::load(from + j * V::kLanes);
        }
    }
    const auto step = [&]() __attribute__((always_inline)) {
        typename V::InReg columns[NV];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            columns[j] = V::load_in((kPacks ? b : packed) + j * V::kLanes);
#if defined(__AVX512F__)
            asm("" : "+v"(columns[j]));
#endif
            if constexpr (kPacks) V::store(packed + j * V::kLanes, columns[j]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            const typename V::InReg row = V::broadcast(at_bytes(a, pitches[i]));
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) acc[i][j] = V::fma(row, columns[j], acc[i][j]);
        }
        a += a_step, packed += NV * V::kLanes;
        if constexpr (kPacks) b += ldb;
    };
    assert(a_step != 0);
    const In* const end = a + block.kc * a_step;
    steps_with_lines<true>(block.lines, a, a_step, block.kc, step);
    while (a != end) step();
    if (block.resumes || block.write == Write::store)
        write_tile<V, false>(acc, c, ldc);
    else
        write_tile<V, true>(acc, c, ldc);
}

template <class V, int NV, bool kPacks, class Rows>
struct PartTable;
template <class V, int NV, bool kPacks, int... R>
struct PartTable<V, NV, kPacks, std::integer_sequence<int, R...>> {
    static constexpr PartKernel<typename V::In, typename V::Acc> kernels[] = {part_kernel<V, R + 1, NV, kPacks>...};
};

template <class V>
constexpr void accept_parts(KernelSet<typename V::In, typename V::Acc>& set) {
    using Rows = std::make_integer_sequence<int, kStandardRows>;
    constexpr int kNarrow = (kStandardVectors + 1) / 2;
    set.part[0] = {PartTable<V, kNarrow, true, Rows>::kernels, PartTable<V, kNarrow, false, Rows>::kernels};
    set.part[1] = {PartTable<V, kStandardVectors, true, Rows>::kernels,
                   PartTable<V, kStandardVectors, false, Rows>::kernels};
}

}  // namespace
}  // namespace tenon::product::dense
