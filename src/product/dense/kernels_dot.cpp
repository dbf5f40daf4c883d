// The kernels of AVX-512 BF16 and VNNI, whose instructions sum two products of bfloat16 or four of bytes in a lane.
// Compiled only for those extensions (cmake/TenonLibrary.cmake); blocked.cpp checks the CPU before it calls one.
#if defined(__x86_64__)
#include "product/attention/passes.h"
#include "product/chain/micro.h"
#include "product/dense/micro.h"
#include "product/dense/pack.h"
#include "product/dense/packing_kernel.h"
#include "product/dense/widened_row.h"

namespace tenon::product::dense {
namespace {

using Words = Vector<std::uint32_t>;

/// Two bfloat16 in a lane. The instruction accumulates the odd one first and treats subnormals as zeros, in operands
/// and results, which is the law's rule (flush.h).
struct BrainPairs : Vector<float> {
    using In = std::uint32_t;
    using InReg = Words::Reg;
    TENON_INLINE static InReg load_in(const In* p) { return Words::load(p); }
    TENON_INLINE static InReg load_in(const In* p, Mask mask) { return Words::load(p, mask); }
    TENON_INLINE static InReg broadcast(In x) { return Words::broadcast(x); }
    TENON_INLINE static Reg fma(InReg x, InReg y, Reg z) {
        return reinterpret_cast<Reg>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(z), reinterpret_cast<__m512bh>(x),
                                                      reinterpret_cast<__m512bh>(y)));
    }
};

/// Four bytes in a lane: unsigned in A's groups, signed in B's.
struct ByteQuads : Words {
    using InReg = Words::Reg;
    TENON_INLINE static Reg fma(InReg x, InReg y, Reg z) {
        return reinterpret_cast<Reg>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(z), reinterpret_cast<__m512i>(x),
                                                         reinterpret_cast<__m512i>(y)));
    }
};

TENON_INLINE __m512i widen(const std::uint16_t* p, std::uint16_t mask) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
}
TENON_INLINE __m512i widen(const std::uint8_t* p, std::uint16_t mask) {
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, p));
}

/// Groups of T, two or four in a 32-bit lane. kFlip is xored to what is read (0x80 shifts an 8-bit integer by 128,
/// which changes its signedness), but not to padding zeros.
template <class T, T kFlip>
struct Groups {
    using Lane = T;
    using Reg = Words::Reg;
    static constexpr int kGroup = 4 / int{sizeof(T)}, kBits = 8 * int{sizeof(T)};

    static __m512i flip() {
        if constexpr (sizeof(T) == 1)
            return _mm512_set1_epi8(static_cast<char>(kFlip));
        else
            return _mm512_set1_epi16(static_cast<short>(kFlip));
    }

    TENON_INLINE static Reg along(const T* p) {
        return reinterpret_cast<Reg>(_mm512_xor_si512(_mm512_loadu_si512(p), flip()));
    }
    TENON_INLINE static Reg along_first(const T* p, std::int64_t n) {
        const std::uint64_t mask = n >= 16 * kGroup ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
        if constexpr (sizeof(T) == 1) {
            const __m512i x = _mm512_maskz_loadu_epi8(mask, p);
            return reinterpret_cast<Reg>(_mm512_mask_mov_epi8(x, mask, _mm512_xor_si512(x, flip())));
        } else {
            return reinterpret_cast<Reg>(_mm512_maskz_loadu_epi16(static_cast<std::uint32_t>(mask), p));
        }
    }
    TENON_INLINE static Reg across_masked(const T* p, const std::int64_t* k, int n, std::uint16_t mask) {
        __m512i x = widen(p + k[0], mask);
        for (int i = 1; i < n; ++i)
            x = _mm512_or_si512(x, _mm512_slli_epi32(widen(p + k[i], mask), static_cast<unsigned>(i * kBits)));
        if constexpr (kFlip != 0) {
            const auto bits = static_cast<std::uint32_t>((std::uint64_t{1} << (n * kBits)) - 1);
            x = _mm512_mask_xor_epi32(x, mask, x, _mm512_set1_epi32(static_cast<int>(0x80808080u & bits)));
        }
        return reinterpret_cast<Reg>(x);
    }
    TENON_INLINE static Reg across(const T* p, const std::int64_t* k, int n) { return across_masked(p, k, n, 0xffff); }
    TENON_INLINE static Reg across_first(const T* p, const std::int64_t* k, int n, std::int64_t lines) {
        return across_masked(p, k, n, static_cast<std::uint16_t>((1u << lines) - 1));
    }
    TENON_INLINE static std::uint32_t element(const T* p, const std::int64_t* k, int n) {
        std::uint32_t x = 0;
        for (int i = 0; i < n; ++i) x |= static_cast<std::uint32_t>(static_cast<T>(p[k[i]] ^ kFlip)) << (i * kBits);
        return x;
    }
};

/// bfloat16: two vectors of groups from whole rows in two shuffles.
struct BrainGroups : Groups<std::uint16_t, 0> {
    static constexpr bool kTwo = true;
    TENON_INLINE static void two(Reg& first, Reg& second, const std::uint16_t* p, const std::int64_t* k) {
        alignas(64) static constexpr std::uint16_t kLow[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                               37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                               11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
        const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
        const __m512i even = _mm512_loadu_si512(p + k[0]), odd = _mm512_loadu_si512(p + k[1]);
        first = reinterpret_cast<Reg>(_mm512_permutex2var_epi16(even, low, odd));
        second = reinterpret_cast<Reg>(_mm512_permutex2var_epi16(even, high, odd));
    }
};

/// Bytes: the same of four rows, and four vectors of groups of longer rows in three shuffles each. Rows 0 and 1 are
/// interleaved in one half of a vector, 2 and 3 in the other, then words of the halves.
template <std::uint8_t kFlip>
struct ByteGroups : Groups<std::uint8_t, kFlip> {
    static constexpr bool kTwo = true;
    TENON_INLINE static __m512i rows(const std::uint8_t* x, const std::uint8_t* y) {
        const auto half = [](const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); };
        return _mm512_inserti64x4(_mm512_castsi256_si512(half(x)), half(y), 1);
    }
    using Reg = Words::Reg;
    TENON_INLINE static void two(Reg& first, Reg& second, const std::uint8_t* p, const std::int64_t* k) {
        alignas(64) static constexpr std::uint16_t kLow[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                               21, 6,  22, 7,  23, 32, 48, 33, 49, 34, 50,
                                                               35, 51, 36, 52, 37, 53, 38, 54, 39, 55};
        const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(8));
        const __m512i even = rows(p + k[0], p + k[2]), odd = rows(p + k[1], p + k[3]);
        const __m512i x = _mm512_xor_si512(_mm512_unpacklo_epi8(even, odd), Groups<std::uint8_t, kFlip>::flip());
        const __m512i y = _mm512_xor_si512(_mm512_unpackhi_epi8(even, odd), Groups<std::uint8_t, kFlip>::flip());
        first = reinterpret_cast<Reg>(_mm512_permutex2var_epi16(x, low, y));
        second = reinterpret_cast<Reg>(_mm512_permutex2var_epi16(x, high, y));
    }
    /// Lane l of a vector takes what lane l of the four results wants: then bytes and words are interleaved in lanes.
    static constexpr bool kFour = true;
    TENON_INLINE static void four(Reg (&to)[4], const std::uint8_t* p, const std::int64_t* k) {
        alignas(64) static constexpr std::uint32_t kTransposed[16] = {0, 4, 8,  12, 1, 5, 9,  13,
                                                                      2, 6, 10, 14, 3, 7, 11, 15};
        const __m512i transposed = _mm512_load_si512(kTransposed), flip = Groups<std::uint8_t, kFlip>::flip();
        __m512i x[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
            x[i] = _mm512_xor_si512(_mm512_maskz_permutexvar_epi32(0xffff, transposed, _mm512_loadu_si512(p + k[i])),
                                    flip);
        const __m512i low = _mm512_unpacklo_epi8(x[0], x[1]), high = _mm512_unpackhi_epi8(x[0], x[1]);
        const __m512i low2 = _mm512_unpacklo_epi8(x[2], x[3]), high2 = _mm512_unpackhi_epi8(x[2], x[3]);
        to[0] = reinterpret_cast<Reg>(_mm512_unpacklo_epi16(low, low2));
        to[1] = reinterpret_cast<Reg>(_mm512_unpackhi_epi16(low, low2));
        to[2] = reinterpret_cast<Reg>(_mm512_unpacklo_epi16(high, high2));
        to[3] = reinterpret_cast<Reg>(_mm512_unpackhi_epi16(high, high2));
    }
};

void widen_pairs(float* to, std::int64_t pitch, const std::uint32_t* from, std::int64_t from_pitch, std::int64_t rows,
                 std::int64_t vectors) {
    const __m512i odd = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    for (std::int64_t r = 0; r < rows; ++r, to += 2 * pitch, from += from_pitch)
        for (std::int64_t v = 0; v < vectors; ++v) {
            const __m512i pairs = _mm512_loadu_si512(from + v * 16);
            _mm512_storeu_si512(to + v * 16, _mm512_slli_epi32(pairs, 16));
            _mm512_storeu_si512(to + pitch + v * 16, _mm512_and_si512(pairs, odd));
        }
}

constexpr DotKernels dot_kernels() {
    DotKernels all = {};
    all.widen = widen_pairs;
    using Brain = BrainGroups;
    all.bf16 = kernel_set<BrainPairs>(2);
    accept<BrainPairs, Brain>(all.bf16, Source::bfloat16);
    accept_few<BrainPairs, Brain, false>(all.bf16, Source::bfloat16, std::make_integer_sequence<int, kDotRows>{});
    all.bf16.dot[static_cast<int>(Source::bfloat16)][0] = pairs_row_kernel<BrainPairs, Brain>;
    accept_transposed<BrainPairs>(all.bf16);
    accept_packing_groups<BrainPairs, Brain>(all.bf16, Source::bfloat16);
    all.int8 = kernel_set<ByteQuads>(4);
    // Lines belong to A and are unsigned; columns across k belong to B and are signed.
    all.int8.lines[static_cast<int>(Source::uint8)] = Packing<ByteQuads, ByteGroups<0>>::lines;
    all.int8.lines[static_cast<int>(Source::int8)] = Packing<ByteQuads, ByteGroups<0x80>>::lines;
    all.int8.across[static_cast<int>(Source::int8)] = Packing<ByteQuads, ByteGroups<0>>::across;
    all.int8.across[static_cast<int>(Source::uint8)] = Packing<ByteQuads, ByteGroups<0x80>>::across;
    accept_few<ByteQuads, ByteGroups<0>, false>(all.int8, Source::int8, std::make_integer_sequence<int, kDotRows>{});
    accept_few<ByteQuads, ByteGroups<0x80>, false>(all.int8, Source::uint8,
                                                   std::make_integer_sequence<int, kDotRows>{});
    accept_packing_groups<ByteQuads, ByteGroups<0>>(all.int8, Source::int8);
    accept_packing_groups<ByteQuads, ByteGroups<0x80>>(all.int8, Source::uint8);
    // Rows as lanes are A's, unsigned.
    accept_transposed<ByteQuads>(all.int8);
    all.int8.transposed_a[static_cast<int>(Source::uint8)] = Packing<ByteQuads, ByteGroups<0>>::across;
    all.int8.transposed_a[static_cast<int>(Source::int8)] = Packing<ByteQuads, ByteGroups<0x80>>::across;
    return all;
}

}  // namespace

namespace avx512_dot {
extern const DotKernels kKernels;
constexpr DotKernels kKernels = dot_kernels();
}  // namespace avx512_dot

}  // namespace tenon::product::dense

namespace tenon::product::chain::avx512_dot {
extern const CrossKernels<std::uint32_t, float> kKernels;
constexpr CrossKernels<std::uint32_t, float> kKernels = cross_kernels<dense::BrainPairs, true>();
}  // namespace tenon::product::chain::avx512_dot

namespace tenon::product::attention::avx512_dot {
extern const Passes<float> kPasses;
constexpr Passes<float> kPasses = passes<Pairs>();
}  // namespace tenon::product::attention::avx512_dot
#endif
