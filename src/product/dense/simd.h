// Vectors of the instruction set being compiled: the few operations kernels need, on the compiler's vector types.
// Everything is in an unnamed namespace: each *_isa.cpp object has its own copy.
#pragma once

#include <cstdint>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if !defined(__x86_64__)
#include "product/flush.h"
#endif

#define TENON_INLINE [[gnu::always_inline]] inline

namespace tenon::product::dense {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kStandardRows = 14, kStandardVectors = 2, kWideRows = 6, kWideVectors = 4;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kStandardRows = 6, kStandardVectors = 2, kWideRows = 2, kWideVectors = 4;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kStandardRows = 6, kStandardVectors = 4, kWideRows = 3, kWideVectors = 8;
#else
constexpr int kVectorBytes = 16, kStandardRows = 4, kStandardVectors = 2, kWideRows = 2, kWideVectors = 4;
#endif

template <class T>
struct Vector {
    using Element = T;
    typedef T Reg __attribute__((vector_size(kVectorBytes)));
    typedef T Memory __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
    static constexpr int kLanes = kVectorBytes / int{sizeof(T)};

    TENON_INLINE static Reg load(const T* p) { return *reinterpret_cast<const Memory*>(p); }
    TENON_INLINE static void store(T* p, Reg x) { *reinterpret_cast<Memory*>(p) = x; }
    TENON_INLINE static Reg broadcast(T x) { return x - Reg{}; }
    TENON_INLINE static Reg add(Reg x, Reg y) { return x + y; }
    TENON_INLINE static Reg fma(Reg x, Reg y, Reg z) {
        if constexpr (T(0.5) == T(0)) {
            return x * y + z;
        } else {
#if defined(__AVX512F__)
            if constexpr (sizeof(T) == 4)
                return reinterpret_cast<Reg>(_mm512_fmadd_ps(reinterpret_cast<__m512>(x), reinterpret_cast<__m512>(y),
                                                             reinterpret_cast<__m512>(z)));
            else
                return reinterpret_cast<Reg>(_mm512_fmadd_pd(reinterpret_cast<__m512d>(x), reinterpret_cast<__m512d>(y),
                                                             reinterpret_cast<__m512d>(z)));
#elif defined(__AVX2__)
            if constexpr (sizeof(T) == 4)
                return reinterpret_cast<Reg>(_mm256_fmadd_ps(reinterpret_cast<__m256>(x), reinterpret_cast<__m256>(y),
                                                             reinterpret_cast<__m256>(z)));
            else
                return reinterpret_cast<Reg>(_mm256_fmadd_pd(reinterpret_cast<__m256d>(x), reinterpret_cast<__m256d>(y),
                                                             reinterpret_cast<__m256d>(z)));
#elif defined(__aarch64__)
            if constexpr (sizeof(T) == 4)
                return reinterpret_cast<Reg>(vfmaq_f32(reinterpret_cast<float32x4_t>(z),
                                                       reinterpret_cast<float32x4_t>(x),
                                                       reinterpret_cast<float32x4_t>(y)));
            else
                return reinterpret_cast<Reg>(vfmaq_f64(reinterpret_cast<float64x2_t>(z),
                                                       reinterpret_cast<float64x2_t>(x),
                                                       reinterpret_cast<float64x2_t>(y)));
#else
            for (int i = 0; i < kLanes; ++i) {
                if constexpr (sizeof(T) == 4)
                    z[i] = __builtin_fmaf(x[i], y[i], z[i]);
                else
                    z[i] = __builtin_fma(x[i], y[i], z[i]);
            }
            return z;
#endif
        }
    }
};

/// float32 vectors with subnormal results flushed (flush.h has the rule; operands are already flushed). On x86 the
/// floating-point environment does it.
#if defined(__x86_64__)
struct FlushedVector : Vector<float> {};
#else
struct FlushedVector : Vector<float> {
    typedef std::uint32_t Bits __attribute__((vector_size(kVectorBytes)));

    TENON_INLINE static Reg flush(Reg x) {
        const Bits bits = reinterpret_cast<Bits>(x), normal = reinterpret_cast<Bits>((bits & 0x7f800000u) != 0u);
        return reinterpret_cast<Reg>(bits & (normal | 0x80000000u));
    }
    TENON_INLINE static Reg add(Reg x, Reg y) { return flush(x + y); }
    TENON_INLINE static Reg fma(Reg x, Reg y, Reg z) {
        Reg r = Vector<float>::fma(x, y, z);
        const Bits at_boundary = reinterpret_cast<Bits>((reinterpret_cast<Bits>(r) & 0x7fffffffu) == 0x00800000u);
        std::uint32_t any = 0;
        for (int i = 0; i < kLanes; ++i) any |= at_boundary[i];
        if (any != 0) [[unlikely]]
            for (int i = 0; i < kLanes; ++i) r[i] = flush_fma(x[i], y[i], z[i]);
        return flush(r);
    }
};
#endif

// --- transposition of a square of kLanes vectors ---

template <int D, class Reg, int... I>
TENON_INLINE void exchange(Reg& x, Reg& y, std::integer_sequence<int, I...>) {
    constexpr int n = sizeof...(I);
    const Reg low = __builtin_shufflevector(x, y, ((I & D) == 0 ? I : n + I - D)...);
    y = __builtin_shufflevector(x, y, ((I & D) == 0 ? I + D : n + I)...);
    x = low;
}

template <int D, int N, class Reg>
TENON_INLINE void transpose(Reg* rows) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i)
        if ((i & D) == 0) exchange<D>(rows[i], rows[i + D], std::make_integer_sequence<int, N>{});
    if constexpr (D > 1) transpose<D / 2, N>(rows);
}

}  // namespace
}  // namespace tenon::product::dense
