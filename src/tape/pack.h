// Packs: several vectors of float32 that the functions of math.h take as they take one element. Every operation is done
// on all vectors of a pack before the next one, so that their chains of dependent operations run side by side; a loop
// over elements that a compiler unrolls has one vector's chain after the other's, more of them than a CPU looks ahead.
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

/// Vectors whose chains run side by side: with more, their values and the constants outgrow the registers.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr int kPack = 2;
#else
constexpr int kPack = 4;
#endif

template <class Vector>
struct PackOf {
    Vector v[kPack];
};
struct PackMask : PackOf<VMask> {};

#define TENON_EACH(r, expression)                        \
    r y;                                                 \
    for (int i = 0; i < kPack; ++i) y.v[i] = expression; \
    return y

struct PackBits : PackOf<VBits> {
    PackBits() = default;
    TENON_INLINE PackBits(std::uint32_t x) {
        for (VBits& each : v) each = VBits{} + x;
    }
    TENON_INLINE friend PackBits operator&(PackBits a, PackBits b) { TENON_EACH(PackBits, a.v[i] & b.v[i]); }
    TENON_INLINE friend PackBits operator|(PackBits a, PackBits b) { TENON_EACH(PackBits, a.v[i] | b.v[i]); }
    TENON_INLINE friend PackBits operator+(PackBits a, PackBits b) { TENON_EACH(PackBits, a.v[i] + b.v[i]); }
    TENON_INLINE friend PackBits operator-(PackBits a, PackBits b) { TENON_EACH(PackBits, a.v[i] - b.v[i]); }
    TENON_INLINE friend PackBits operator<<(PackBits a, int n) { TENON_EACH(PackBits, a.v[i] << n); }
    TENON_INLINE friend PackBits operator>>(PackBits a, int n) { TENON_EACH(PackBits, a.v[i] >> n); }
};

struct Pack : PackOf<V> {
    Pack() = default;
    TENON_INLINE Pack(float x) {
        for (V& each : v) each = x - V{};
    }
    template <class... Vectors>
    requires(sizeof...(Vectors) == kPack) TENON_INLINE explicit Pack(Vectors... vectors) : PackOf<V>{{vectors...}} {}
    TENON_INLINE friend Pack operator-(Pack a) { TENON_EACH(Pack, -a.v[i]); }
    TENON_INLINE friend Pack operator+(Pack a, Pack b) { TENON_EACH(Pack, a.v[i] + b.v[i]); }
    TENON_INLINE friend Pack operator-(Pack a, Pack b) { TENON_EACH(Pack, a.v[i] - b.v[i]); }
    TENON_INLINE friend Pack operator*(Pack a, Pack b) { TENON_EACH(Pack, a.v[i] * b.v[i]); }
    TENON_INLINE friend Pack operator/(Pack a, Pack b) { TENON_EACH(Pack, a.v[i] / b.v[i]); }
    TENON_INLINE friend PackMask operator>(Pack a, Pack b) { TENON_EACH(PackMask, a.v[i] > b.v[i]); }
    TENON_INLINE friend PackMask operator<(Pack a, Pack b) { TENON_EACH(PackMask, a.v[i] < b.v[i]); }
    TENON_INLINE friend PackMask operator==(Pack a, Pack b) { TENON_EACH(PackMask, a.v[i] == b.v[i]); }
    TENON_INLINE friend Pack fma(Pack a, Pack b, Pack c) { TENON_EACH(Pack, fma_vector(a.v[i], b.v[i], c.v[i])); }
    TENON_INLINE friend Pack choose(PackMask first, Pack a, Pack b) { TENON_EACH(Pack, first.v[i] ? a.v[i] : b.v[i]); }
    TENON_INLINE friend PackBits bits(Pack a) { TENON_EACH(PackBits, reinterpret_cast<VBits>(a.v[i])); }
};
TENON_INLINE Pack from_bits(PackBits a) { TENON_EACH(Pack, reinterpret_cast<V>(a.v[i])); }

#undef TENON_EACH

}  // namespace

template <>
struct Elements<Pack> {
    using One = float;
    using Bits = PackBits;
};

}  // namespace tenon::tape::TENON_ISA
#endif
