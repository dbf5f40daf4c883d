// The micro-kernels of chains, one source for all instruction sets. Everything is in an unnamed namespace: see
// dense/simd.h.
#pragma once

#include "product/chain/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::chain {
namespace {

/// One step of k: rank-1 update of the MR x NV vectors.
template <class V, int MR, int NV>
TENON_INLINE void cross_update(typename V::Reg (&acc)[MR][NV], const typename V::In* a, const typename V::In* b) {
    typename V::InReg columns[NV];
#pragma GCC unroll 16
    for (int j = 0; j < NV; ++j) columns[j] = V::load_in(b + j * V::kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        const typename V::InReg row = V::broadcast(a[i]);
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) acc[i][j] = V::fma(row, columns[j], acc[i][j]);
    }
}

template <class V, int MR, int NV, bool kTail, bool kAdd>
TENON_INLINE void store_rows(const typename V::Reg (&acc)[MR][NV], typename V::Acc* c, std::int64_t ldc,
                             [[maybe_unused]] const typename V::Mask* masks) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            typename V::Acc* p = c + j * V::kLanes;
            if constexpr (kTail)
                V::store(p, kAdd ? V::add(V::load(p, masks[j]), acc[i][j]) : acc[i][j], masks[j]);
            else
                V::store(p, kAdd ? V::add(V::load(p), acc[i][j]) : acc[i][j]);
        }
        c += ldc;
        asm("" : "+r"(c));  // else every row's address is computed beforehand, which takes longer than the stores
    }
}

template <class V, int MR, int NV, bool kTail>
void cross_kernel(const CrossBlock<typename V::In, typename V::Acc>& block, const typename V::In* a,
                  const typename V::In* b, typename V::Acc* c) {
    const std::int64_t lda = block.lda, ldb = block.ldb, ldc = block.ldc;
    Ahead& ahead = *block.ahead;
    typename V::Reg acc[MR][NV] = {};
    std::int64_t k = block.kc, fetch = k < ahead.left ? k : ahead.left;
    if (fetch > 0) {
        k -= fetch;
        ahead.left -= fetch;
        const char* at = ahead.at;
        const std::int64_t step = ahead.step, jump = ahead.jump;
        std::int64_t left = ahead.left_in_run;
        for (; fetch > 0; --fetch, a += lda, b += ldb) {
            __builtin_prefetch(at, 0, 2);
            at += step;
            if (--left == 0) at += jump, left = ahead.run;
            cross_update<V, MR, NV>(acc, a, b);
        }
        ahead.at = at;
        ahead.left_in_run = left;
    }
    for (; k > 0; --k, a += lda, b += ldb) cross_update<V, MR, NV>(acc, a, b);

    typename V::Mask masks[NV];
    if constexpr (kTail)
        for (int j = 0; j < NV; ++j) {
            const std::int64_t left = block.columns - j * V::kLanes;
            masks[j] = V::first(left > 0 ? left : 0);
        }
    if (block.write == dense::Write::add)
        store_rows<V, MR, NV, kTail, true>(acc, c, ldc, masks);
    else
        store_rows<V, MR, NV, kTail, false>(acc, c, ldc, masks);
}

template <class In>
void transpose_lines(In* dst, std::int64_t pitch, const void* src, std::int64_t step, std::int64_t lines,
                     std::int64_t k) {
    using V = dense::Vector<In>;
    constexpr int n = V::kLanes;
    typedef In Loose __attribute__((aligned(1), may_alias));
    typedef In LooseVector __attribute__((vector_size(dense::kVectorBytes), aligned(1), may_alias));
    const auto at = [&](std::int64_t line, std::int64_t element) {
        return static_cast<const char*>(src) + line * step + element * static_cast<std::int64_t>(sizeof(In));
    };
    for (std::int64_t line = 0; line < lines; line += n) {
        const std::int64_t here = lines - line < n ? lines - line : n;
        std::int64_t e = 0;
        for (; e + n <= k; e += n) {
            typename V::Reg square[n];
            if (here == n) {
#pragma GCC unroll 16
                for (int r = 0; r < n; ++r) square[r] = *reinterpret_cast<const LooseVector*>(at(line + r, e));
            } else {
                for (int r = 0; r < n; ++r)
                    square[r] = r < here ? *reinterpret_cast<const LooseVector*>(at(line + r, e)) : typename V::Reg{};
            }
            dense::transpose<n / 2, n>(square);
#pragma GCC unroll 16
            for (int r = 0; r < n; ++r) V::store(dst + (e + r) * pitch + line, square[r]);
        }
        for (; e < k; ++e)
            for (std::int64_t r = 0; r < n; ++r)
                dst[e * pitch + line + r] = r < here ? *reinterpret_cast<const Loose*>(at(line + r, e)) : In(0);
    }
}

template <class V, int NV, bool kTail, class Rows>
struct CrossTable;
template <class V, int NV, bool kTail, int... R>
struct CrossTable<V, NV, kTail, std::integer_sequence<int, R...>> {
    static constexpr CrossKernel<typename V::In, typename V::Acc> kernels[] = {cross_kernel<V, R + 1, NV, kTail>...};
};

template <class V>
constexpr CrossKernels<typename V::In, typename V::Acc> cross_kernels() {
    static_assert(dense::kStandardVectors >= 2);
    using Rows = std::make_integer_sequence<int, dense::kStandardRows>;
    return {dense::kStandardRows,
            V::kLanes,
            {CrossTable<V, 1, false, Rows>::kernels, CrossTable<V, 2, false, Rows>::kernels},
            {CrossTable<V, 1, true, Rows>::kernels, CrossTable<V, 2, true, Rows>::kernels},
            transpose_lines<typename V::In>};
}

}  // namespace
}  // namespace tenon::product::chain
