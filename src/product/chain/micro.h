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

enum class Store { sums, added, narrow };

#if defined(__AVX512BF16__)
/// Sums of the instruction are never subnormal, which the conversion would flush.
template <class Mask>
TENON_INLINE void store_narrow(void* p, __m512 x, Mask mask) {
    _mm256_mask_storeu_epi16(p, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
}
#endif

template <class V, int MR, int NV, bool kTail, Store kStore>
TENON_INLINE void store_rows(const typename V::Reg (&acc)[MR][NV], typename V::Acc* c, std::int64_t ldc,
                             [[maybe_unused]] const typename V::Mask* masks) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            if constexpr (kStore == Store::narrow) {
#if defined(__AVX512BF16__)
                store_narrow(reinterpret_cast<char*>(c) + j * V::kLanes * 2, reinterpret_cast<__m512>(acc[i][j]),
                             kTail ? masks[j] : V::first(V::kLanes));
#endif
            } else {
                typename V::Acc* p = c + j * V::kLanes;
                constexpr bool kAdd = kStore == Store::added;
                if constexpr (kTail)
                    V::store(p, kAdd ? V::add(V::load(p, masks[j]), acc[i][j]) : acc[i][j], masks[j]);
                else
                    V::store(p, kAdd ? V::add(V::load(p), acc[i][j]) : acc[i][j]);
            }
        }
        if constexpr (kStore == Store::narrow)
            c = reinterpret_cast<typename V::Acc*>(reinterpret_cast<char*>(c) + 2 * ldc);
        else
            c += ldc;
        asm("" : "+r"(c));  // else every row's address is computed beforehand, which takes longer than the stores
    }
}

template <class V, int MR, int NV, bool kTail, bool kNarrow>
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
    if constexpr (kNarrow)
        store_rows<V, MR, NV, kTail, Store::narrow>(acc, c, ldc, masks);
    else if (block.write == dense::Write::add)
        store_rows<V, MR, NV, kTail, Store::added>(acc, c, ldc, masks);
    else
        store_rows<V, MR, NV, kTail, Store::sums>(acc, c, ldc, masks);
}

/// Up to a vector of lines, and as many elements of each. kWhole: a vector of them; else `lines` (the last one is read
/// again for those that are missing) and `k`.
template <class In, bool kWhole>
TENON_INLINE void transpose_square(In* dst, std::int64_t pitch, const char* src, std::int64_t step, std::int64_t lines,
                                   std::int64_t k) {
    using V = dense::Vector<In>;
    constexpr int n = V::kLanes;
    typedef In Loose __attribute__((vector_size(dense::kVectorBytes), aligned(1), may_alias));
    typename V::Reg square[n];
    if constexpr (kWhole) {
#pragma GCC unroll 16
        for (int r = 0; r < n; ++r) {
            square[r] = *reinterpret_cast<const Loose*>(src);
            src += step;
            asm("" : "+r"(src));
        }
    } else {
        const typename V::Mask mask = V::first(k);
        for (int r = 0; r < n; ++r) {
            square[r] = V::load(reinterpret_cast<const In*>(src), mask);
            src += r + 1 < lines ? step : 0;
        }
    }
    dense::transpose<n / 2, n>(square);
#pragma GCC unroll 16
    for (int r = 0; r < n; ++r) {
        if (!kWhole && r >= k) break;
        V::store(dst, square[r]);
        dst += pitch;
        asm("" : "+r"(dst));
    }
}

template <class In>
void transpose_lines(In* dst, std::int64_t pitch, const void* src, std::int64_t step, std::int64_t lines,
                     std::int64_t k) {
    constexpr std::int64_t n = dense::Vector<In>::kLanes;
    for (std::int64_t line = 0; line < lines; line += n, dst += n) {
        const char* at = static_cast<const char*>(src) + line * step;
        for (std::int64_t e = 0; e < k; e += n, at += n * std::int64_t{sizeof(In)}) {
            if (lines - line >= n && k - e >= n)
                transpose_square<In, true>(dst + e * pitch, pitch, at, step, n, n);
            else
                transpose_square<In, false>(dst + e * pitch, pitch, at, step, lines - line, k - e < n ? k - e : n);
        }
    }
}

template <class V, int NV, bool kTail, bool kNarrow, class Rows>
struct CrossTable;
template <class V, int NV, bool kTail, bool kNarrow, int... R>
struct CrossTable<V, NV, kTail, kNarrow, std::integer_sequence<int, R...>> {
    static constexpr CrossKernel<typename V::In, typename V::Acc> kernels[] = {
        cross_kernel<V, R + 1, NV, kTail, kNarrow>...};
};

template <class V, bool kNarrow = false>
constexpr CrossKernels<typename V::In, typename V::Acc> cross_kernels() {
    static_assert(dense::kStandardVectors >= 2);
    using Rows = std::make_integer_sequence<int, dense::kStandardRows>;
    CrossKernels<typename V::In, typename V::Acc> all;
    all.mr = dense::kStandardRows, all.lanes = V::kLanes;
    all.whole[0] = CrossTable<V, 1, false, false, Rows>::kernels;
    all.whole[1] = CrossTable<V, 2, false, false, Rows>::kernels;
    all.tail[0] = CrossTable<V, 1, true, false, Rows>::kernels;
    all.tail[1] = CrossTable<V, 2, true, false, Rows>::kernels;
    if constexpr (kNarrow) {
        all.narrow[0] = CrossTable<V, 1, false, true, Rows>::kernels;
        all.narrow[1] = CrossTable<V, 2, false, true, Rows>::kernels;
        all.narrow_tail[0] = CrossTable<V, 1, true, true, Rows>::kernels;
        all.narrow_tail[1] = CrossTable<V, 2, true, true, Rows>::kernels;
    }
    all.transpose = transpose_lines<typename V::In>;
    return all;
}

}  // namespace
}  // namespace tenon::product::chain
