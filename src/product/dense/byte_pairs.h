// Pairs of 8-bit integers widened to 16 bits. One x86 instruction (pmaddwd) multiplies them and adds each pair in 32
// bits, exactly: the sum is at most 2 * 255 * 255, and signed and unsigned bytes both fit. Everything is in an unnamed
// namespace: see simd.h.
#pragma once

#include "product/dense/kernels.h"
#include "product/dense/simd.h"

#if defined(__x86_64__)

namespace tenon::product::dense {
namespace {

struct BytePairs : Vector<std::uint32_t> {
    TENON_INLINE static Reg fma(Reg x, Reg y, Reg z) {
#if defined(__AVX512BW__)
        return z + reinterpret_cast<Reg>(_mm512_madd_epi16(reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(y)));
#elif defined(__AVX2__)
        return z + reinterpret_cast<Reg>(_mm256_madd_epi16(reinterpret_cast<__m256i>(x), reinterpret_cast<__m256i>(y)));
#else
        return z + reinterpret_cast<Reg>(_mm_madd_epi16(reinterpret_cast<__m128i>(x), reinterpret_cast<__m128i>(y)));
#endif
    }
};

/// Loads and widens; T is int8_t or uint8_t.
template <class T>
struct WidenedPairs {
    using Lane = T;
    using Reg = BytePairs::Reg;
    static constexpr int kGroup = 2, kLanes = BytePairs::kLanes;
    static constexpr std::make_integer_sequence<int, 2 * kLanes> kBoth{};
    typedef T Line __attribute__((vector_size(kLanes)));
    typedef T LineMemory __attribute__((vector_size(kLanes), aligned(1), may_alias));
    typedef T Pairs __attribute__((vector_size(2 * kLanes)));
    typedef T PairsMemory __attribute__((vector_size(2 * kLanes), aligned(1), may_alias));
    typedef std::int16_t Words __attribute__((vector_size(kVectorBytes)));

    TENON_INLINE static Reg widen(Pairs x) { return reinterpret_cast<Reg>(__builtin_convertvector(x, Words)); }
    template <int... I>
    TENON_INLINE static Pairs interleave(Line x, Line y, std::integer_sequence<int, I...>) {
        return __builtin_shufflevector(x, y, (I / 2 + I % 2 * kLanes)...);
    }

    TENON_INLINE static Reg along(const T* p) { return widen(*reinterpret_cast<const PairsMemory*>(p)); }
    TENON_INLINE static Reg along_first(const T* p, std::int64_t n) {
        T lanes[2 * kLanes] = {};
        for (std::int64_t i = 0; i < n && i < 2 * kLanes; ++i) lanes[i] = p[i];
        return along(lanes);
    }
    TENON_INLINE static Line line(const T* p) { return *reinterpret_cast<const LineMemory*>(p); }
    TENON_INLINE static Line line_first(const T* p, std::int64_t n) {
        T lanes[kLanes] = {};
        for (std::int64_t i = 0; i < n && i < kLanes; ++i) lanes[i] = p[i];
        return line(lanes);
    }
    TENON_INLINE static Reg across(const T* p, const std::int64_t* k, int n) {
        return widen(interleave(line(p + k[0]), n > 1 ? line(p + k[1]) : Line{}, kBoth));
    }
    TENON_INLINE static Reg across_first(const T* p, const std::int64_t* k, int n, std::int64_t lines) {
        return widen(interleave(line_first(p + k[0], lines), n > 1 ? line_first(p + k[1], lines) : Line{}, kBoth));
    }
    TENON_INLINE static std::uint32_t element(const T* p, const std::int64_t* k, int n) {
        const auto low = static_cast<std::uint16_t>(p[k[0]]);
        return n > 1 ? low | static_cast<std::uint32_t>(static_cast<std::uint16_t>(p[k[1]])) << 16 : low;
    }
};

}  // namespace
}  // namespace tenon::product::dense

#endif
