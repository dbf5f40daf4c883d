// The micro-kernels of chains, one source for all instruction sets. Everything is in an unnamed namespace: see
// dense/simd.h.
#pragma once

#include "product/chain/kernels.h"
#include "product/dense/kernel_steps.h"
#include "product/dense/simd.h"

namespace tenon::product::chain {
namespace {

/// One step of k: a rank-1 update of MR x NV vectors. Rows of A are kStep elements apart.
template <class V, int MR, int NV, int kStep>
TENON_INLINE void cross_update(typename V::Reg (&acc)[MR][NV], const typename V::In* a, const typename V::In* b) {
    typename V::InReg columns[NV];
#pragma GCC unroll 16
    for (int j = 0; j < NV; ++j) columns[j] = V::load_in(b + j * V::kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        const typename V::InReg row = V::broadcast(a[i * kStep]);
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) acc[i][j] = V::fma(row, columns[j], acc[i][j]);
    }
}

#if defined(__AVX512BF16__)
/// The conversion flushes subnormals; sums of the dot-product instruction never are subnormal.
template <class Mask>
TENON_INLINE void store_narrow(void* p, __m512 x, Mask mask) {
    _mm256_mask_storeu_epi16(p, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
}
#elif defined(__AVX512F__)
/// To bfloat16, the upper half of each word: to nearest, ties to even; a NaN stays a NaN.
TENON_INLINE dense::Vector<std::uint32_t>::Reg rounded_brain(dense::Vector<float>::Reg x) {
    using Bits = dense::Vector<std::uint32_t>::Reg;
    const Bits bits = reinterpret_cast<Bits>(x), nan = reinterpret_cast<Bits>(x != x);
    return (((bits >> 16 & 1u) + bits + 0x7fffu) & ~nan) | ((bits | 0x400000u) & nan);
}
template <class Mask>
TENON_INLINE void store_narrow(void* p, __m512 x, Mask mask) {
    _mm512_mask_cvtepi32_storeu_epi16(
        p, mask, reinterpret_cast<__m512i>(rounded_brain(reinterpret_cast<dense::Vector<float>::Reg>(x)) >> 16));
}
#endif

#if defined(__AVX512F__)
template <class V, bool kTail, int MR, int NV>
TENON_INLINE void write_narrow(const typename V::Reg (&acc)[MR][NV], void* c, std::int64_t ldc,
                               [[maybe_unused]] const typename V::Mask* masks) {
    char* row = static_cast<char*>(c);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i, row += 2 * ldc) {
        asm("" : "+r"(row));  // as in write_tile
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j)
            store_narrow(row + j * V::kLanes * 2, reinterpret_cast<__m512>(acc[i][j]),
                         kTail ? masks[j] : V::first(V::kLanes));
    }
}
#endif

template <class V, int MR, int NV>
TENON_INLINE void read_sums(typename V::Reg (&acc)[MR][NV], const typename V::Acc* row, std::int64_t step) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i, row += step) {
        asm("" : "+r"(row));  // as in write_tile
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) acc[i][j] = V::load(row + j * V::kLanes);
    }
}

template <class V, int MR, int NV, bool kTail, bool kNarrow, int kStep = 1>
void cross_kernel(const CrossBlock<typename V::In, typename V::Acc>& block, const typename V::In* a,
                  const typename V::In* b, typename V::Acc* c) {
    const std::int64_t lda = block.lda, ldb = block.ldb, ldc = block.ldc;
    typename V::Reg acc[MR][NV] = {};
    if constexpr (kStep > 1)
        if (block.before) read_sums<V>(acc, block.before, block.before_row);
    const auto step = [&]() __attribute__((always_inline)) {
        cross_update<V, MR, NV, kStep>(acc, a, b);
        a += lda, b += ldb;
    };
    const typename V::In* const end = a + block.kc * lda;
    dense::steps_with_lines<(kStep > 1)>(block.ahead, a, lda, block.kc, step);
    while (a != end) step();

    typename V::Mask masks[NV] = {};
    if constexpr (kTail) V::first_of_each(block.columns, masks);
#if defined(__AVX512F__)
    if constexpr (kNarrow) return write_narrow<V, kTail>(acc, c, ldc, masks);
#endif
    constexpr dense::Edge kEdge = kTail ? dense::Edge::any : dense::Edge::none;
    if constexpr (kStep > 1 && !kTail)
        if (block.nontemporal) return dense::write_tile<V, false, kEdge, true>(acc, c, ldc, masks);
    if (block.write == dense::Write::add)
        dense::write_tile<V, true, kEdge>(acc, c, ldc, masks);
    else
        dense::write_tile<V, false, kEdge>(acc, c, ldc, masks);
}

/// Up to a vector of lines, and as many elements of each. kWhole: exactly that; otherwise `lines` (the last one is read
/// again in place of missing ones) and `k`.
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

#if defined(__AVX512F__) && !defined(__AVX512BF16__)
/// Lines of k pairs of bfloat16: two rows for each pair, the odd element first.
void transpose_pairs(float* dst, std::int64_t pitch, const void* src, std::int64_t step, std::int64_t lines,
                     std::int64_t k) {
    using Words = dense::Vector<std::uint32_t>;
    constexpr std::int64_t n = Words::kLanes;
    for (std::int64_t line = 0; line < lines; line += n, dst += n) {
        const char* at = static_cast<const char*>(src) + line * step;
        for (std::int64_t e = 0; e < k; e += n, at += n * 4) {
            std::uint32_t square[n * n];
            if (lines - line >= n && k - e >= n)
                transpose_square<std::uint32_t, true>(square, n, at, step, n, n);
            else
                transpose_square<std::uint32_t, false>(square, n, at, step, lines - line, k - e < n ? k - e : n);
            auto* to = reinterpret_cast<std::uint32_t*>(dst + 2 * e * pitch);
            for (std::int64_t r = 0; r < n && e + r < k; ++r, to += 2 * pitch) {
                const Words::Reg pair = Words::load(square + r * n);
                Words::store(to, pair & 0xffff0000u);
                Words::store(to + pitch, pair << 16);
            }
        }
    }
}

void widen_rows(float* dst, std::int64_t pitch, const void* src, std::int64_t step, std::int64_t rows, std::int64_t k) {
    for (std::int64_t i = 0; i < rows; ++i, dst += pitch) {
        const auto* from = reinterpret_cast<const std::uint16_t*>(static_cast<const char*>(src) + i * step);
        for (std::int64_t e = 0; e < k; e += 16) {
            const auto mask = static_cast<__mmask16>((1u << (k - e < 16 ? k - e : 16)) - 1);
            typedef std::uint32_t Eight __attribute__((vector_size(32)));
            typedef std::uint16_t Sixteen __attribute__((vector_size(32)));
            const Eight pairs = reinterpret_cast<Eight>(_mm256_maskz_loadu_epi16(mask, from + e));
            const auto swapped = reinterpret_cast<Sixteen>(pairs >> 16 | pairs << 16);  // the odd one first
            using Words = dense::Vector<std::uint32_t>;
            Words::store(reinterpret_cast<std::uint32_t*>(dst + e), __builtin_convertvector(swapped, Words::Reg) << 16);
        }
    }
}
#endif

#if defined(__AVX512F__) && !defined(__AVX512BF16__)
void round_all(float* x, std::int64_t n) {
    using V = dense::Vector<float>;
    using Words = dense::Vector<std::uint32_t>;
    for (std::int64_t i = 0; i < n; i += V::kLanes)
        Words::store(reinterpret_cast<std::uint32_t*>(x + i), rounded_brain(V::load(x + i)) & 0xffff0000u);
}
#endif

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

/// Whole vectors, then the rest byte by byte.
void copy_rows(char* to, const std::int64_t* offsets, std::int64_t size, const char* from, std::int64_t pitch,
               std::int64_t rows, std::int64_t bytes) {
    constexpr std::int64_t n = dense::kVectorBytes;
    typedef std::uint8_t Loose __attribute__((vector_size(n), aligned(1), may_alias));
    for (std::int64_t i = 0; i < rows; ++i, from += pitch) {
        char* const row = to + offsets[i] * size;
        std::int64_t at = 0;
        for (; at + n <= bytes; at += n)
            *reinterpret_cast<Loose*>(row + at) = *reinterpret_cast<const Loose*>(from + at);
        for (; at < bytes; ++at) row[at] = from[at];
    }
}

template <class V, int NV, bool kTail, bool kNarrow, class Rows, int kStep = 1>
struct CrossTable;
template <class V, int NV, bool kTail, bool kNarrow, int kStep, int... R>
struct CrossTable<V, NV, kTail, kNarrow, std::integer_sequence<int, R...>, kStep> {
    static constexpr CrossKernel<typename V::In, typename V::Acc> kernels[] = {
        cross_kernel<V, R + 1, NV, kTail, kNarrow, kStep>...};
};

#if defined(__AVX512F__)
/// Stores half a vector to each of two places.
template <class In>
TENON_INLINE void store_halves(In* low, In* high, __m512i x) {
    typedef std::int64_t Eight __attribute__((vector_size(64)));
    typedef std::int64_t Four __attribute__((vector_size(32)));
    const Eight words = reinterpret_cast<Eight>(x);
    const Four first = __builtin_shufflevector(words, words, 0, 1, 2, 3);
    const Four second = __builtin_shufflevector(words, words, 4, 5, 6, 7);
    __builtin_memcpy(low, &first, sizeof first);
    __builtin_memcpy(high, &second, sizeof second);
}

#if defined(__AVX512BF16__)
/// Interleaves x and y as bfloat16.
TENON_INLINE __m512i rounded_pairs(__m512 x, __m512 y) {
    alignas(64) static constexpr std::uint16_t kInTurn[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                              21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                              11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(kInTurn), reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y, x)));
}
#endif

/// kRounds: rounds to bfloat16, as In.
template <class V, int MR, int NV, bool kRounds>
void panel_kernel(const PanelBlock& block, const typename V::In* x, const typename V::In* w, typename V::In* z) {
    using In = typename V::In;
    std::int64_t rows[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) rows[i] = i * block.row;
    const std::int64_t w_row = block.w_row, slice = block.slice, w_slice = block.w_slice;
    typename V::Reg acc[2][MR][NV] = {};
    const auto step = [&]() __attribute__((always_inline)) {
#pragma GCC unroll 16
        for (int s = 0; s < 2; ++s) {
            const In* const from = s == 0 ? x : reinterpret_cast<const In*>(reinterpret_cast<const char*>(x) + slice);
            const In* const weights = s == 0 ? w : w + w_slice;
            typename V::InReg columns[NV];
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) columns[j] = V::load_in(weights + j * V::kLanes);
#pragma GCC unroll 16
            for (int i = 0; i < MR; ++i) {
                const typename V::InReg row = V::broadcast(dense::at_bytes(from, rows[i]));
#pragma GCC unroll 16
                for (int j = 0; j < NV; ++j) acc[s][i][j] = V::fma(row, columns[j], acc[s][i][j]);
            }
        }
        ++x, w += w_row;
    };
    const In* const end = x + block.kc;
    dense::steps_with_lines<true>(block.ahead, x, 1, block.kc, step);
    while (x != end) step();
    const std::int64_t chunk = block.z_chunk, z_row = block.z_row;
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i, z += z_row) {
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            In* const low = z + 2 * j * chunk;
            if constexpr (__is_same(In, typename V::Acc)) {
#pragma GCC unroll 16
                for (int s = 0; s < 2; ++s) {
                    auto sums = reinterpret_cast<__m512i>(acc[s][i][j]);
#if !defined(__AVX512BF16__)
                    if constexpr (kRounds) sums = reinterpret_cast<__m512i>(rounded_brain(acc[s][i][j]) & 0xffff0000u);
#endif
                    store_halves(low + s * block.z_slice, low + s * block.z_slice + chunk, sums);
                }
            } else {
#if defined(__AVX512BF16__)
                store_halves(
                    low, low + chunk,
                    rounded_pairs(reinterpret_cast<__m512>(acc[0][i][j]), reinterpret_cast<__m512>(acc[1][i][j])));
#endif
            }
        }
        asm("" : "+r"(z));
    }
}

template <class V, int NV, bool kRounds, class Rows>
struct PanelTable;
template <class V, int NV, bool kRounds, int... R>
struct PanelTable<V, NV, kRounds, std::integer_sequence<int, R...>> {
    static constexpr PanelKernel<typename V::In> kernels[] = {panel_kernel<V, R + 1, NV, kRounds>...};
};

template <class V, bool kNarrow>
constexpr void add_panels(CrossKernels<typename V::In, typename V::Acc>& all) {
    using Rows = std::make_integer_sequence<int, kPanelRows>;
    using Half = std::make_integer_sequence<int, kPanelRows / 2>;
    constexpr int kStep = kPanelBytes / int{sizeof(typename V::In)};
    constexpr bool kRounds = kNarrow && __is_same(typename V::In, typename V::Acc);
    all.panel_first[0] = PanelTable<V, 1, kRounds, Half>::kernels;
    all.panel_first[1] = PanelTable<V, 2, kRounds, Half>::kernels;
    all.panel_whole[0] = CrossTable<V, 1, false, false, Rows, kStep>::kernels;
    all.panel_whole[1] = CrossTable<V, 2, false, false, Rows, kStep>::kernels;
    if constexpr (__is_same(typename V::In, typename V::Acc))
        all.panel_half = CrossTable<dense::HalfVector<typename V::In>, 1, true, false, Rows, kStep>::kernels;
    all.panel_tail[0] = CrossTable<V, 1, true, false, Rows, kStep>::kernels;
    all.panel_tail[1] = CrossTable<V, 2, true, false, Rows, kStep>::kernels;
    if constexpr (kNarrow) {
        all.panel_narrow[0] = CrossTable<V, 1, false, true, Rows, kStep>::kernels;
        all.panel_narrow[1] = CrossTable<V, 2, false, true, Rows, kStep>::kernels;
        all.panel_narrow_tail[0] = CrossTable<V, 1, true, true, Rows, kStep>::kernels;
        all.panel_narrow_tail[1] = CrossTable<V, 2, true, true, Rows, kStep>::kernels;
    }
}
#endif

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
    all.copy = copy_rows;
#if defined(__AVX512F__)
    if constexpr (__is_same(typename V::In, typename V::Acc))
        all.half = CrossTable<dense::HalfVector<typename V::In>, 1, true, false, Rows>::kernels;
    add_panels<V, kNarrow>(all);
#endif
    return all;
}

/// The kernels for bfloat16 as float32.
constexpr CrossKernels<float, float> widened_kernels() {
#if defined(__AVX512F__) && !defined(__AVX512BF16__)
    CrossKernels<float, float> all = cross_kernels<dense::Vector<float>, true>();
    all.transpose = transpose_pairs, all.widen = widen_rows, all.round = round_all;
    return all;
#else
    return {};
#endif
}

}  // namespace
}  // namespace tenon::product::chain
