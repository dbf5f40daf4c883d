// Packs: several vectors of float32 that the functions of math.h take in place of one element. Each operation is done
// on all vectors of a pack before the next one, so that their chains of dependent operations overlap. A loop over
// elements that the compiler unrolls has one vector's chain after the other's, which exceeds a CPU's reorder window.
#pragma once

#include "tape/math.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define TENON_STRIP_VECTOR 64
#elif defined(__AVX2__)
#define TENON_STRIP_VECTOR 32
#elif defined(__aarch64__)
#define TENON_STRIP_VECTOR 16
#endif

#if defined(TENON_STRIP_VECTOR)
namespace tenon::tape::TENON_ISA {
namespace {

typedef float V __attribute__((vector_size(TENON_STRIP_VECTOR)));
typedef std::uint32_t VBits __attribute__((vector_size(TENON_STRIP_VECTOR)));
typedef std::int32_t VMask __attribute__((vector_size(TENON_STRIP_VECTOR)));
constexpr int kVector = TENON_STRIP_VECTOR / 4;

#if defined(__AVX512F__)
TENON_INLINE V fma_vector(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__)
TENON_INLINE V fma_vector(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
#else
TENON_INLINE V fma_vector(V a, V b, V c) { return vfmaq_f32(c, a, b); }
#endif

/// limit < x ? limit : x, which the compiler does not recognise as one instruction.
TENON_INLINE V lesser(V limit, V x) {
#if defined(__AVX512F__)
    return _mm512_maskz_min_ps(0xFFFF, limit, x);  // GCC 12 finds an uninitialised value in the form without a mask
#elif defined(__AVX2__)
    return _mm256_min_ps(limit, x);
#else
    return limit < x ? limit : x;
#endif
}

/// Whether an element of `x` is `limit` or more.
TENON_INLINE bool reaches(VBits x, std::uint32_t limit) {
#if defined(__AVX512F__)
    return _mm512_cmpge_epu32_mask(reinterpret_cast<__m512i>(x), _mm512_set1_epi32(static_cast<int>(limit)));
#elif defined(__AVX2__)
    return _mm256_movemask_ps(reinterpret_cast<V>(x >= VBits{} + limit));
#else
    return vmaxvq_u32(x) >= limit;
#endif
}
/// Whether any element of a comparison's result is set.
TENON_INLINE bool any(VMask x) { return reaches(reinterpret_cast<VBits>(x), 1); }

/// Vectors whose chains overlap. With more, their values and the constants exceed the registers, which pays for the
/// longest chains only.
#if defined(__AVX512F__)
constexpr int kPack = 4, kLongPack = 8;
#elif defined(__AVX2__)
constexpr int kPack = 2, kLongPack = 2;
#else
constexpr int kPack = 4, kLongPack = 4;
#endif

template <int n>
struct PackMask {
    VMask v[n];
};

#define TENON_EACH(r, expression)                    \
    r y;                                             \
    for (int i = 0; i < n; ++i) y.v[i] = expression; \
    return y

template <int n>
struct PackBits {
    VBits v[n];
    PackBits() = default;
    TENON_INLINE PackBits(std::uint32_t x) {
        for (VBits& each : v) each = VBits{} + x;
    }
    TENON_INLINE friend PackBits operator&(PackBits a, PackBits b) { TENON_EACH(PackBits, a.v[i] & b.v[i]); }
    TENON_INLINE friend PackBits operator|(PackBits a, PackBits b) { TENON_EACH(PackBits, a.v[i] | b.v[i]); }
    TENON_INLINE friend PackBits operator+(PackBits a, PackBits b) { TENON_EACH(PackBits, a.v[i] + b.v[i]); }
    TENON_INLINE friend PackBits operator-(PackBits a, PackBits b) { TENON_EACH(PackBits, a.v[i] - b.v[i]); }
    TENON_INLINE friend PackBits operator<<(PackBits a, int k) { TENON_EACH(PackBits, a.v[i] << k); }
    TENON_INLINE friend PackBits operator>>(PackBits a, int k) { TENON_EACH(PackBits, a.v[i] >> k); }
};

template <int n>
struct Pack {
    using Mask = PackMask<n>;
    using Bits = PackBits<n>;

    V v[n];
    Pack() = default;
    TENON_INLINE Pack(float x) {
        for (V& each : v) each = x - V{};
    }
    template <class... Vectors>
    requires(sizeof...(Vectors) == n) TENON_INLINE explicit Pack(Vectors... vectors) : v{vectors...} {}
    TENON_INLINE friend Pack operator-(Pack a) { TENON_EACH(Pack, -a.v[i]); }
    TENON_INLINE friend Pack operator+(Pack a, Pack b) { TENON_EACH(Pack, a.v[i] + b.v[i]); }
    TENON_INLINE friend Pack operator-(Pack a, Pack b) { TENON_EACH(Pack, a.v[i] - b.v[i]); }
    TENON_INLINE friend Pack operator*(Pack a, Pack b) { TENON_EACH(Pack, a.v[i] * b.v[i]); }
    TENON_INLINE friend Pack operator/(Pack a, Pack b) { TENON_EACH(Pack, a.v[i] / b.v[i]); }
    TENON_INLINE friend Mask operator>(Pack a, Pack b) { TENON_EACH(Mask, a.v[i] > b.v[i]); }
    TENON_INLINE friend Mask operator<(Pack a, Pack b) { TENON_EACH(Mask, a.v[i] < b.v[i]); }
    TENON_INLINE friend Mask operator==(Pack a, Pack b) { TENON_EACH(Mask, a.v[i] == b.v[i]); }
    TENON_INLINE friend Pack fma(Pack a, Pack b, Pack c) { TENON_EACH(Pack, fma_vector(a.v[i], b.v[i], c.v[i])); }
    TENON_INLINE friend Pack at_most(Pack limit, Pack x) { TENON_EACH(Pack, lesser(limit.v[i], x.v[i])); }
    TENON_INLINE friend Pack choose(Mask first, Pack a, Pack b) { TENON_EACH(Pack, first.v[i] ? a.v[i] : b.v[i]); }
    TENON_INLINE friend Bits bits(Pack a) { TENON_EACH(Bits, reinterpret_cast<VBits>(a.v[i])); }
};
template <int n>
TENON_INLINE Pack<n> from_bits(PackBits<n> a) {
    TENON_EACH(Pack<n>, reinterpret_cast<V>(a.v[i]));
}

#undef TENON_EACH

}  // namespace

template <int n>
struct Elements<Pack<n>> {
    using One = float;
    using Bits = PackBits<n>;
};

}  // namespace tenon::tape::TENON_ISA
#endif
