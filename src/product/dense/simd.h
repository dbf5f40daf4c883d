// Vectors of the instruction set that is being compiled: the few operations that kernels need, on the compiler's vector
// types. Everything is in an unnamed namespace: each *_isa.cpp object has its own copy.
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

/// Rows of a tile of one to four vectors whose operands are in cache; 0: no limit.
#if defined(__AVX512F__)
constexpr int kInCacheRows[4] = {8, 4, 5, 4}, kTripleRows = 6, kQuarterRows = 4, kWidenOnLoadRows = 16;
#else
constexpr int kInCacheRows[4] = {};
#endif

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kStandardRows = 14, kStandardVectors = 2, kWideRows = 6, kWideVectors = 4;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kStandardRows = 6, kStandardVectors = 2, kWideRows = 2, kWideVectors = 4;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kStandardRows = 6, kStandardVectors = 4, kWideRows = 3, kWideVectors = 8;
#else
constexpr int kVectorBytes = 16, kStandardRows = 4, kStandardVectors = 2, kWideRows = 2, kWideVectors = 4;
#endif

/// Operands and sums of one type: a group of k is one element.
template <class T>
struct Vector {
    using Element = T;
    using In = T;
    using Acc = T;
    using Sums = Vector;  // the type whose arithmetic adds sums
    typedef T Reg __attribute__((vector_size(kVectorBytes)));
    typedef T Memory __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
    using InReg = Reg;
    static constexpr int kLanes = kVectorBytes / int{sizeof(T)};

    TENON_INLINE static Reg load(const T* p) { return *reinterpret_cast<const Memory*>(p); }
    TENON_INLINE static void store(T* p, Reg x) { *reinterpret_cast<Memory*>(p) = x; }
    TENON_INLINE static Reg broadcast(T x) { return x - Reg{}; }
    /// Stores to an aligned address, past the caches if the CPU has such stores.
    TENON_INLINE static void store_nontemporal(T* p, Reg x) {
#if defined(__AVX512F__)
        _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(x));
#elif defined(__AVX2__)
        _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(x));
#else
        store(p, x);
#endif
    }

    // The first `n` elements, 0 <= n: nothing beyond is read (it counts as zero) or written.
#if defined(__AVX512F__)
    using Mask = std::uint16_t;
    TENON_INLINE static Mask first(std::int64_t n) {
        return static_cast<Mask>(_bzhi_u32((1u << kLanes) - 1, static_cast<unsigned>(n < kLanes ? n : kLanes)));
    }
    TENON_INLINE static Reg load(const T* p, Mask mask) {
        if constexpr (sizeof(T) == 4)
            return reinterpret_cast<Reg>(_mm512_maskz_loadu_epi32(mask, p));
        else
            return reinterpret_cast<Reg>(_mm512_maskz_loadu_epi64(static_cast<std::uint8_t>(mask), p));
    }
    TENON_INLINE static void store(T* p, Reg x, Mask mask) {
        if constexpr (sizeof(T) == 4)
            _mm512_mask_storeu_epi32(p, mask, reinterpret_cast<__m512i>(x));
        else
            _mm512_mask_storeu_epi64(p, static_cast<std::uint8_t>(mask), reinterpret_cast<__m512i>(x));
    }
#elif defined(__AVX2__)
    using Mask = __m256i;
    TENON_INLINE static Mask first(std::int64_t n) {
        const __m256i below = _mm256_set1_epi32(static_cast<int>(n < kLanes ? n : kLanes));
        if constexpr (sizeof(T) == 4)
            return _mm256_cmpgt_epi32(below, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        else
            return _mm256_cmpgt_epi32(below, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    }
    TENON_INLINE static Reg load(const T* p, Mask mask) {
        if constexpr (sizeof(T) == 4)
            return reinterpret_cast<Reg>(_mm256_maskload_epi32(reinterpret_cast<const int*>(p), mask));
        else
            return reinterpret_cast<Reg>(_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), mask));
    }
    TENON_INLINE static void store(T* p, Reg x, Mask mask) {
        if constexpr (sizeof(T) == 4)
            _mm256_maskstore_epi32(reinterpret_cast<int*>(p), mask, reinterpret_cast<__m256i>(x));
        else
            _mm256_maskstore_epi64(reinterpret_cast<long long*>(p), mask, reinterpret_cast<__m256i>(x));
    }
#else
    using Mask = std::int64_t;
    TENON_INLINE static Mask first(std::int64_t n) { return n; }
    TENON_INLINE static Reg load(const T* p, Mask n) {
        if (n >= kLanes) return load(p);
        Reg x{};
        for (std::int64_t i = 0; i < n; ++i) x[i] = p[i];
        return x;
    }
    TENON_INLINE static void store(T* p, Reg x, Mask n) {
        if (n >= kLanes) return store(p, x);
        for (std::int64_t i = 0; i < n; ++i) p[i] = x[i];
    }
#endif

    /// N adjacent vectors.
    template <int N>
    TENON_INLINE static void first_of_each(std::int64_t n, Mask (&masks)[N]) {
#if defined(__AVX512F__)
        static_assert(N * kLanes <= 64);
        const std::uint64_t all = _bzhi_u64(~std::uint64_t{0}, static_cast<std::uint64_t>(n));
        for (int j = 0; j < N; ++j) masks[j] = static_cast<Mask>(all >> (j * kLanes));
#else
        for (int j = 0; j < N; ++j) masks[j] = first(n > j * kLanes ? n - j * kLanes : 0);
#endif
    }

    TENON_INLINE static InReg load_in(const T* p) { return load(p); }
    TENON_INLINE static InReg load_in(const T* p, Mask mask) { return load(p, mask); }
    TENON_INLINE static Reg clean(Reg x) { return x; }  // of an operand; FlushedVector replaces subnormals by zeros
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

#if defined(__AVX512F__)
/// What micro-kernels need of half or a quarter of a vector of float or double. For so few columns, some CPUs start two
/// such multiply-adds at once.
template <class T, int kBytes>
struct PartVector {
    using In = T;
    using Acc = T;
    typedef T Reg __attribute__((vector_size(kBytes)));
    typedef T Memory __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias));
    using InReg = Reg;
    using Mask = std::uint8_t;
    static constexpr int kLanes = kBytes / int{sizeof(T)};
    static constexpr bool kHalf = kBytes == 32, kSingle = sizeof(T) == 4;

    template <int N>
    TENON_INLINE static void first_of_each(std::int64_t n, Mask (&masks)[N]) {
        static_assert(N == 1);
        masks[0] = static_cast<Mask>(_bzhi_u32((1u << kLanes) - 1, static_cast<unsigned>(n)));
    }
    TENON_INLINE static Reg load(const T* p) { return *reinterpret_cast<const Memory*>(p); }
    TENON_INLINE static void store(T* p, Reg x) { *reinterpret_cast<Memory*>(p) = x; }
    TENON_INLINE static Reg load(const T* p, Mask mask) {
        if constexpr (kHalf && kSingle)
            return reinterpret_cast<Reg>(_mm256_maskz_loadu_ps(mask, p));
        else if constexpr (kHalf)
            return reinterpret_cast<Reg>(_mm256_maskz_loadu_pd(mask, p));
        else if constexpr (kSingle)
            return reinterpret_cast<Reg>(_mm_maskz_loadu_ps(mask, p));
        else
            return reinterpret_cast<Reg>(_mm_maskz_loadu_pd(mask, p));
    }
    TENON_INLINE static void store(T* p, Reg x, Mask mask) {
        if constexpr (kHalf && kSingle)
            _mm256_mask_storeu_ps(p, mask, reinterpret_cast<__m256>(x));
        else if constexpr (kHalf)
            _mm256_mask_storeu_pd(p, mask, reinterpret_cast<__m256d>(x));
        else if constexpr (kSingle)
            _mm_mask_storeu_ps(p, mask, reinterpret_cast<__m128>(x));
        else
            _mm_mask_storeu_pd(p, mask, reinterpret_cast<__m128d>(x));
    }
    TENON_INLINE static Reg load_in(const T* p) { return load(p); }
    TENON_INLINE static Reg load_in(const T* p, Mask mask) { return load(p, mask); }
    TENON_INLINE static Reg broadcast(T x) { return x - Reg{}; }
    TENON_INLINE static Reg add(Reg x, Reg y) { return x + y; }
    TENON_INLINE static Reg fma(Reg x, Reg y, Reg z) {
        if constexpr (kHalf && kSingle)
            return reinterpret_cast<Reg>(
                _mm256_fmadd_ps(reinterpret_cast<__m256>(x), reinterpret_cast<__m256>(y), reinterpret_cast<__m256>(z)));
        else if constexpr (kHalf)
            return reinterpret_cast<Reg>(_mm256_fmadd_pd(reinterpret_cast<__m256d>(x), reinterpret_cast<__m256d>(y),
                                                         reinterpret_cast<__m256d>(z)));
        else if constexpr (kSingle)
            return reinterpret_cast<Reg>(
                _mm_fmadd_ps(reinterpret_cast<__m128>(x), reinterpret_cast<__m128>(y), reinterpret_cast<__m128>(z)));
        else
            return reinterpret_cast<Reg>(
                _mm_fmadd_pd(reinterpret_cast<__m128d>(x), reinterpret_cast<__m128d>(y), reinterpret_cast<__m128d>(z)));
    }
};
template <class T>
using HalfVector = PartVector<T, 32>;
template <class T>
using QuarterVector = PartVector<T, 16>;
#endif

/// float32 vectors whose subnormal results are flushed (flush.h has the rule; operands are already flushed). On x86 the
/// floating-point environment does it.
#if defined(__x86_64__)
struct FlushedVector : Vector<float> {};
#else
struct FlushedVector : Vector<float> {
    using Sums = FlushedVector;
    typedef std::uint32_t Bits __attribute__((vector_size(kVectorBytes)));

    TENON_INLINE static Reg flush(Reg x) {
        const Bits bits = reinterpret_cast<Bits>(x), normal = reinterpret_cast<Bits>((bits & 0x7f800000u) != 0u);
        return reinterpret_cast<Reg>(bits & (normal | 0x80000000u));
    }
    TENON_INLINE static Reg clean(Reg x) { return flush(x); }
    TENON_INLINE static Reg add(Reg x, Reg y) { return flush(x + y); }
    TENON_INLINE static Reg fma(Reg x, Reg y, Reg z) {
        Reg r = Vector<float>::fma(x, y, z);
        const Bits at_boundary = reinterpret_cast<Bits>((reinterpret_cast<Bits>(r) & 0x7fffffffu) == 0x00800000u);
        std::uint32_t any = 0;
        for (int i = 0; i < kLanes; ++i) any |= at_boundary[i];
        if (any != 0) [[unlikely]]
            for (int i = 0; i < kLanes; ++i) r[i] = flush_wide_fma(x[i], y[i], z[i]);
        return flush(r);
    }
};
#endif

template <class In>
TENON_INLINE const In* bytes_after(const In* p, std::int64_t bytes) {
    return reinterpret_cast<const In*>(reinterpret_cast<const char*>(p) + bytes);
}
/// The group there; groups of narrow elements are aligned like those elements.
template <class In>
TENON_INLINE In at_bytes(const In* p, std::int64_t bytes) {
    typedef In Loose __attribute__((aligned(1), may_alias));
    return *reinterpret_cast<const Loose*>(bytes_after(p, bytes));
}

// --- transposition of a square of kLanes vectors ---

template <int D, class Reg, int... I>
TENON_INLINE void exchange(Reg& x, Reg& y, std::integer_sequence<int, I...>) {
    constexpr int n = sizeof...(I);
    const Reg low = __builtin_shufflevector(x, y, ((I & D) == 0 ? I : n + I - D)...);
    y = __builtin_shufflevector(x, y, ((I & D) == 0 ? I + D : n + I)...);
    x = low;
}

/// Interleaves the words of two vectors, within every 128 bits.
template <class Reg>
TENON_INLINE Reg interleave_low(Reg x, Reg y) {
    return __builtin_shufflevector(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
template <class Reg>
TENON_INLINE Reg interleave_high(Reg x, Reg y) {
    return __builtin_shufflevector(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
/// The same for pairs of words.
template <class Reg>
TENON_INLINE Reg interleave_pairs_low(Reg x, Reg y) {
    return __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
}
template <class Reg>
TENON_INLINE Reg interleave_pairs_high(Reg x, Reg y) {
    return __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
/// From two vectors, the lower, upper, even or odd two lanes of 128 bits.
template <class Reg>
TENON_INLINE Reg lower_lanes(Reg x, Reg y) {
    return __builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
}
template <class Reg>
TENON_INLINE Reg upper_lanes(Reg x, Reg y) {
    return __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
template <class Reg>
TENON_INLINE Reg even_lanes(Reg x, Reg y) {
    return __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}
template <class Reg>
TENON_INLINE Reg odd_lanes(Reg x, Reg y) {
    return __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

/// Transposes 16 x 16 words in 64 shuffles, none of which needs an index vector: words, then pairs of words within 128
/// bits, then lanes of 128 bits.
template <class Reg>
TENON_INLINE void transpose_words(Reg* r) {
    Reg u[16];
#pragma GCC unroll 16
    for (int g = 0; g < 16; g += 4) {
        const Reg low01 = interleave_low(r[g], r[g + 1]), high01 = interleave_high(r[g], r[g + 1]);
        const Reg low23 = interleave_low(r[g + 2], r[g + 3]), high23 = interleave_high(r[g + 2], r[g + 3]);
        u[g] = interleave_pairs_low(low01, low23);
        u[g + 1] = interleave_pairs_high(low01, low23);
        u[g + 2] = interleave_pairs_low(high01, high23);
        u[g + 3] = interleave_pairs_high(high01, high23);
    }
#pragma GCC unroll 16
    for (int c = 0; c < 4; ++c) {
        const Reg low01 = lower_lanes(u[c], u[4 + c]), high01 = upper_lanes(u[c], u[4 + c]);
        const Reg low23 = lower_lanes(u[8 + c], u[12 + c]), high23 = upper_lanes(u[8 + c], u[12 + c]);
        r[c] = even_lanes(low01, low23);
        r[4 + c] = odd_lanes(low01, low23);
        r[8 + c] = even_lanes(high01, high23);
        r[12 + c] = odd_lanes(high01, high23);
    }
}

template <int D, int N, class Reg>
TENON_INLINE void transpose(Reg* rows) {
    if constexpr (N == 16) {
        transpose_words(rows);
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i)
            if ((i & D) == 0) exchange<D>(rows[i], rows[i + D], std::make_integer_sequence<int, N>{});
        if constexpr (D > 1) transpose<D / 2, N>(rows);
    }
}

}  // namespace
}  // namespace tenon::product::dense
