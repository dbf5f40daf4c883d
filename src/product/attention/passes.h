// The passes of kernels.h, one source for all instruction sets. Everything is in an unnamed namespace: see
// dense/simd.h.
#pragma once

#include "product/attention/exp2.h"
#include "product/attention/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::attention {
namespace {

template <class T>
using Vec = dense::Vector<T>;
template <class T>
constexpr int kVectors = kLanes / Vec<T>::kLanes;

/// x - n, n the nearest integer: one instruction where there is one.
template <class T>
TENON_INLINE typename Vec<T>::Reg less_integer(typename Vec<T>::Reg x, [[maybe_unused]] typename Vec<T>::Reg n) {
#if defined(__AVX512DQ__)
    if constexpr (sizeof(T) == 4)
        return reinterpret_cast<typename Vec<T>::Reg>(_mm512_reduce_ps(reinterpret_cast<__m512>(x), 8));
    else
        return reinterpret_cast<typename Vec<T>::Reg>(_mm512_reduce_pd(reinterpret_cast<__m512d>(x), 8));
#else
    return x - n;
#endif
}

/// The function of exp2.h; each step is done for N vectors before the next one, so that none waits for the step before.
template <class T, int N>
TENON_INLINE void exp2_of(typename Vec<T>::Reg (&x)[N]) {
    using E = Exp2<T>;
    using Reg = typename Vec<T>::Reg;
    typedef typename E::Bits Bits __attribute__((vector_size(dense::kVectorBytes)));
    // n + bias + 1 is in the low bits of `shifted`, and the polynomial is halved: the same bits, with one addition
    // less.
    constexpr T kBias = static_cast<T>((E::kOne >> E::kMantissa) + 1);
    const Reg round = Vec<T>::broadcast(E::kRound + kBias);
    Reg shifted[N], f[N], y[N];
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) shifted[v] = x[v] + round;
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) f[v] = less_integer<T>(x[v], shifted[v] - round);
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) y[v] = Vec<T>::broadcast(E::kCoefficients[0] / 2);
#pragma GCC unroll 16
    for (int i = 1; i < E::kCount; ++i)
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) y[v] = Vec<T>::fma(f[v], y[v], Vec<T>::broadcast(E::kCoefficients[i] / 2));
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) y[v] *= reinterpret_cast<Reg>(reinterpret_cast<Bits>(shifted[v]) << E::kMantissa);
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) x[v] = x[v] < Vec<T>::broadcast(E::kLeast) ? Reg{} : y[v];
}

/// Combines lane i of the lower half with lane i of the upper half, and so on; the upper lanes are then unused.
template <class T, int kWidth, class Combine, int... I>
TENON_INLINE typename Vec<T>::Reg folded(typename Vec<T>::Reg x, Combine combine,
                                         std::integer_sequence<int, I...> lanes) {
    x = combine(x, __builtin_shufflevector(x, x, ((I + kWidth) % Vec<T>::kLanes)...));
    if constexpr (kWidth > 1)
        return folded<T, kWidth / 2>(x, combine, lanes);
    else
        return x;
}
template <class T, class Combine>
TENON_INLINE T folded(typename Vec<T>::Reg x, Combine combine) {
    constexpr int n = Vec<T>::kLanes;
    return folded<T, n / 2>(x, combine, std::make_integer_sequence<int, n>{})[0];
}

/// The larger, y where x is not a number.
struct Larger {
    template <class Reg>
    TENON_INLINE Reg operator()(Reg x, Reg y) const {
        return x > y ? x : y;
    }
};
struct Plus {
    template <class Reg>
    TENON_INLINE Reg operator()(Reg x, Reg y) const {
        return x + y;
    }
};

/// As many vectors as one has lanes, side by side in memory: lane i is folded() of vector i.
template <class T, class Combine>
TENON_INLINE typename Vec<T>::Reg folded_each(const T* lanes, Combine combine) {
    using Reg = typename Vec<T>::Reg;
    constexpr int n = Vec<T>::kLanes;
#if defined(__AVX512F__)
    if constexpr (n == 16) {
        // Two vectors' halves become one vector, then four vectors' quarters, and so on: a quarter of the work.
        Reg pairs[8], fours[4], eights[2];
        constexpr int kFirst[8] = {0, 8, 1, 9, 2, 10, 3, 11};
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            const Reg x = Vec<T>::load(lanes + kFirst[i] * n), y = Vec<T>::load(lanes + (kFirst[i] + 4) * n);
            pairs[i] = combine(dense::lower_lanes(x, y), dense::upper_lanes(x, y));
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
            fours[i] = combine(dense::even_lanes(pairs[2 * i], pairs[2 * i + 1]),
                               dense::odd_lanes(pairs[2 * i], pairs[2 * i + 1]));
        // Within 128 bits: the lower two words of each, the upper two; then the even ones, the odd ones.
        const auto two = [&](Reg x, Reg y) __attribute__((always_inline)) {
            return combine(__builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                           __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
        };
        const auto one = [&](Reg x, Reg y) __attribute__((always_inline)) {
            return combine(__builtin_shufflevector(x, y, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30),
                           __builtin_shufflevector(x, y, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31));
        };
        eights[0] = two(fours[0], fours[1]), eights[1] = two(fours[2], fours[3]);
        return one(eights[0], eights[1]);
    }
#endif
    Reg all = {};
    for (int i = 0; i < n; ++i) all[i] = folded<T>(Vec<T>::load(lanes + i * n), combine);
    return all;
}

/// Sums in kLanes lanes as sums in those of a vector.
template <class T>
TENON_INLINE typename Vec<T>::Reg joined(typename Vec<T>::Reg (&lanes)[kVectors<T>]) {
#pragma GCC unroll 16
    for (int width = kVectors<T> / 2; width > 0; width /= 2)
#pragma GCC unroll 16
        for (int v = 0; v < width; ++v) lanes[v] += lanes[v + width];
    return lanes[0];
}

/// The largest of each lane, NaN passed over; -inf of nothing.
template <class T>
TENON_INLINE typename Vec<T>::Reg largest_of(const T* s, std::int64_t n) {
    using Reg = typename Vec<T>::Reg;
    constexpr int kStep = Vec<T>::kLanes;
    constexpr T kLowest = -tape::TENON_ISA::kInfinity<T>;
    const Larger larger;
    Reg best[4];
    for (Reg& x : best) x = Vec<T>::broadcast(kLowest);
    std::int64_t j = 0;
    for (; j + 4 * kStep <= n; j += 4 * kStep)
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) best[v] = larger(Vec<T>::load(s + j + v * kStep), best[v]);
    for (; j < n; j += kStep) best[0] = larger(Vec<T>::load(s + j), best[0]);
    return larger(larger(best[0], best[1]), larger(best[2], best[3]));
}

/// How a vector of weights is stored at index j of a row of sums; a weight is zero, normal or a quiet NaN.
template <class T>
struct Same {
    using Type = T;
    using Stored = T;
    /// The exponents in a word, and the last bit of each.
    static constexpr typename Exp2<T>::Bits kExponent = Exp2<T>::kOne << 1 | Exp2<T>::kOne;
    static constexpr typename Exp2<T>::Bits kLastBit = typename Exp2<T>::Bits{1} << Exp2<T>::kMantissa;
    TENON_INLINE static void put(T* s, std::int64_t j, typename Vec<T>::Reg x) { Vec<T>::store(s + j, x); }
    TENON_INLINE static void put_weight(T* s, std::int64_t j, typename Vec<T>::Reg x) { put(s, j, x); }
};

/// Rounded to bfloat16, subnormals to zero.
struct Rounded {
    using Type = float;
    using Stored = std::uint16_t;
    static constexpr std::uint32_t kExponent = Same<float>::kExponent, kLastBit = Same<float>::kLastBit;
    TENON_INLINE static void put(float* s, std::int64_t j, Vec<float>::Reg x) {
        typedef std::uint32_t Bits __attribute__((vector_size(dense::kVectorBytes)));
        const Bits u = reinterpret_cast<Bits>(x), magnitude = u & 0x7fffffffu;
        const Bits nearest = u + 0x7fffu + (u >> 16 & 1u), nan = u | 0x400000u;
        const Bits kept = reinterpret_cast<Bits>((u & 0x7f800000u) != 0u) & 0x7fff0000u;
        const Bits is_nan = reinterpret_cast<Bits>(magnitude > 0x7f800000u);
        const Bits y = ((is_nan & nan) | (~is_nan & nearest)) & (kept | 0x80000000u);
        Vec<float>::store(s + j, reinterpret_cast<Vec<float>::Reg>(y));
    }
    TENON_INLINE static void put_weight(float* s, std::int64_t j, Vec<float>::Reg x) {
        typedef std::uint32_t Bits __attribute__((vector_size(dense::kVectorBytes)));
        const Bits u = reinterpret_cast<Bits>(x), nothing = {};
        const Bits half = (u & 0x10000u) != nothing ? nothing + 0x8000u : nothing + 0x7fffu;
        const Bits y = x == x ? u + half : u;
        Vec<float>::store(s + j, reinterpret_cast<Vec<float>::Reg>(y & 0xffff0000u));
    }
};

#if defined(__AVX512BF16__)
/// Rounded to bfloat16, subnormals to zero, contiguous.
struct Pairs {
    using Type = float;
    using Stored = std::uint16_t;
    static constexpr std::uint32_t kExponent = 0x7f807f80u, kLastBit = 0x00800080u;
    TENON_INLINE static void put(float* s, std::int64_t j, Vec<float>::Reg x) {
        const __m256bh y = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
        _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(reinterpret_cast<std::uint16_t*>(s) + j),
                            reinterpret_cast<__m256i>(y));
    }
    TENON_INLINE static void put_weight(float* s, std::int64_t j, Vec<float>::Reg x) { put(s, j, x); }
};
#endif

/// N vectors of weights from column j.
template <class Store, int N, class T = typename Store::Type>
TENON_INLINE void some_weights(T* s, std::int64_t j, typename Vec<T>::Reg scale, typename Vec<T>::Reg shift,
                               typename Vec<T>::Reg (&lanes)[kVectors<T>]) {
    constexpr int n = Vec<T>::kLanes;
    typename Vec<T>::Reg p[N];
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) p[v] = Vec<T>::load(s + j + v * n) * scale - shift;
    exp2_of<T>(p);
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) {
        lanes[v % kVectors<T>] += p[v];
        Store::put_weight(s, j + v * n, p[v]);
    }
}

/// s = 2^(s * scale - shift); returns their sum in lanes, before they are rounded.
template <class Store, class T = typename Store::Type>
TENON_INLINE typename Vec<T>::Reg weights(T* s, std::int64_t n, T scale, T shift) {
    constexpr int kMany = kVectors<T> < 4 ? 4 : kVectors<T>;
    const auto by = Vec<T>::broadcast(scale), less = Vec<T>::broadcast(shift);
    typename Vec<T>::Reg lanes[kVectors<T>] = {};
    std::int64_t j = 0;
    for (; j + kMany * Vec<T>::kLanes <= n; j += kMany * Vec<T>::kLanes)
        some_weights<Store, kMany>(s, j, by, less, lanes);
    for (; j < n; j += kLanes) some_weights<Store, kVectors<T>>(s, j, by, less, lanes);
    return joined<T>(lanes);
}

/// The most rows of a tile.
constexpr int kMaxRows = 16;

template <class Store, class T = typename Store::Type>
void softmax(T* s, std::int64_t pitch, std::int64_t rows, std::int64_t n, T scale, T* largest, T* sums, T* factors) {
    using Reg = typename Vec<T>::Reg;
    constexpr int kStep = Vec<T>::kLanes;
    const Reg lowest = Vec<T>::broadcast(-tape::TENON_ISA::kInfinity<T>);
    alignas(64) T lanes[kMaxRows * kStep], shifts[kMaxRows], by[kMaxRows];
    for (std::int64_t r = rows; r < kMaxRows; ++r) Vec<T>::store(lanes + r * kStep, Reg{});
    for (std::int64_t r = 0; r < rows; ++r) Vec<T>::store(lanes + r * kStep, largest_of(s + r * pitch, n));
    for (std::int64_t r = 0; r < rows; r += kStep) {
        const auto some = Vec<T>::first(rows - r);
        const Reg old = Vec<T>::load(largest + r, some), found = folded_each(lanes + r * kStep, Larger{}) * scale;
        const Reg all = found > old ? found : old, shift = all == lowest ? Reg{} : all;
        Reg factor[1] = {old - shift};
        exp2_of<T>(factor);
        Vec<T>::store(largest + r, all, some);
        Vec<T>::store(factors + r, factor[0], some);
        Vec<T>::store(shifts + r, shift);
        Vec<T>::store(by + r, factor[0]);
    }
    for (std::int64_t r = 0; r < rows; ++r)
        Vec<T>::store(lanes + r * kStep, weights<Store>(s + r * pitch, n, scale, shifts[r]));
    for (std::int64_t r = 0; r < rows; r += kStep) {
        const auto some = Vec<T>::first(rows - r);
        const Reg sum = folded_each(lanes + r * kStep, Plus{});
        Vec<T>::store(sums + r, Vec<T>::fma(Vec<T>::load(sums + r, some), Vec<T>::load(by + r), sum), some);
    }
}

template <class T>
void logits(T* s, const T* bias, std::int64_t n, T scale) {
    const auto by = Vec<T>::broadcast(scale), to_base_2 = Vec<T>::broadcast(static_cast<T>(kLog2E));
    for (std::int64_t j = 0; j < n; j += Vec<T>::kLanes) {
        const auto x = Vec<T>::load(s + j) * by;
        Vec<T>::store(s + j, bias ? Vec<T>::fma(Vec<T>::load(bias + j), to_base_2, x) : x);
    }
}

template <class T>
void merge(T* o, const T* chain, std::int64_t rows, std::int64_t n, const T* factors) {
    for (std::int64_t r = 0; r < rows; ++r, o += n, chain += n) {
        const auto by = Vec<T>::broadcast(factors[r]);
        for (std::int64_t j = 0; j < n; j += Vec<T>::kLanes)
            Vec<T>::store(o + j, Vec<T>::fma(Vec<T>::load(o + j), by, Vec<T>::load(chain + j)));
    }
}

template <class T>
void keep(const T* largest, const T* sums, T* logsumexp, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
        const T exponent = tape::TENON_ISA::log(sums[i]);
        logsumexp[i] = sums[i] == 0 ? tape::TENON_ISA::kInfinity<T>
                                    : tape::TENON_ISA::fma(exponent, static_cast<T>(kLog2E), largest[i]);
    }
}

#if defined(__AVX512F__)
/// o / sum, by the reciprocal in double: within 2^-52 of the quotient, which is at least 2^-49 of it away from where
/// rounding to float changes (a number of 25 bits, and the operands have 24); but for results below the normal numbers.
TENON_INLINE Vec<float>::Reg quotient(const float* o, double reciprocal, Vec<float>::Reg sum) {
    const auto half = [&](const float* x) __attribute__((always_inline)) {
        const __m512d wide = _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(x));
        return _mm512_castps256_ps512(_mm512_maskz_cvtpd_ps(0xff, wide * reciprocal));
    };
    const __m512 all = _mm512_maskz_shuffle_f32x4(0xffff, half(o), half(o + 8), 0x44), from = _mm512_loadu_ps(o);
    const __mmask16 small = _mm512_cmp_ps_mask(_mm512_abs_ps(all), _mm512_set1_ps(0x1p-125f), _CMP_LT_OQ);
    const bool any = _mm512_mask_cmp_ps_mask(small, from, __m512{}, _CMP_NEQ_OQ) != 0;
    return any ? reinterpret_cast<Vec<float>::Reg>(from) / sum : reinterpret_cast<Vec<float>::Reg>(all);
}
#endif

template <class T>
void divide(T* o, std::int64_t n, T sum) {
    using Reg = typename Vec<T>::Reg;
    const auto by = Vec<T>::broadcast(sum);
    if (sum == 0) {
        for (std::int64_t j = 0; j < n; j += Vec<T>::kLanes) Vec<T>::store(o + j, Reg{});
        return;
    }
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        const double reciprocal = 1 / static_cast<double>(sum);
        for (std::int64_t j = 0; j < n; j += Vec<T>::kLanes)
            Vec<T>::store(o + j, quotient(o + j, reciprocal, by) + Reg{});
        return;
    }
#endif
    for (std::int64_t j = 0; j < n; j += Vec<T>::kLanes) Vec<T>::store(o + j, Vec<T>::load(o + j) / by + Reg{});
}

template <class T>
void multiply(T* x, std::int64_t n, T scale) {
    const auto by = Vec<T>::broadcast(scale);
    for (std::int64_t j = 0; j < n; j += Vec<T>::kLanes)
        Vec<T>::store(x + j, Vec<T>::load(x + j) * by + typename Vec<T>::Reg{});
}

template <class Store, class T = typename Store::Type>
void slopes(T* s, T* dp, const T* logsumexp, const T* d, std::int64_t first, std::int64_t n, T scale) {
    using Reg = typename Vec<T>::Reg;
    constexpr int kStep = Vec<T>::kLanes;
    const Reg by = Vec<T>::broadcast(scale);
    const auto some = [&]<int N>(std::int64_t j) __attribute__((always_inline)) {
        Reg p[N];
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v)
            p[v] = Vec<T>::load(s + j + v * kStep) * by - Vec<T>::load(logsumexp + j + v * kStep);
        exp2_of<T>(p);
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) {
            const std::int64_t at = j + v * kStep;
            const Reg slope = p[v] * (Vec<T>::load(dp + at) - Vec<T>::load(d + at));
            Store::put_weight(s, at, p[v]);
            Store::put(dp, at, p[v] == Reg{} ? Reg{} : slope);
        }
    };
    std::int64_t j = first;
    for (; j + 4 * kStep <= n; j += 4 * kStep) some.template operator()<4>(j);
    for (; j < n; j += kStep) some.template operator()<1>(j);
}

template <class T, class Stored>
TENON_INLINE T widened_element(Stored x) {
    if constexpr (sizeof(Stored) == 2)
        return tape::TENON_ISA::from_bits(static_cast<std::uint32_t>(x) << 16);
    else
        return x;
}

/// A vector of stored elements, in the type in which they are summed.
template <class T, class Stored>
TENON_INLINE typename Vec<T>::Reg widened_vector(const Stored* x) {
    if constexpr (sizeof(Stored) == sizeof(T)) {
        return Vec<T>::load(x);
    } else {
        constexpr int n = Vec<T>::kLanes;
        typedef Stored Narrow __attribute__((vector_size(n * sizeof(Stored))));
        typedef std::uint32_t Wide __attribute__((vector_size(n * sizeof(T))));
        Narrow narrow;
        __builtin_memcpy(&narrow, x, sizeof narrow);
        return reinterpret_cast<typename Vec<T>::Reg>(__builtin_convertvector(narrow, Wide) << 16);
    }
}

template <class T, class Stored>
T dot(const void* a, const void* b, std::int64_t n) {
    const auto *x = static_cast<const Stored*>(a), *y = static_cast<const Stored*>(b);
    constexpr int kStep = Vec<T>::kLanes;
    typename Vec<T>::Reg lanes[kVectors<T>] = {};
    const auto some = [&](const Stored* from, const Stored* with) __attribute__((always_inline)) {
#pragma GCC unroll 16
        for (int v = 0; v < kVectors<T>; ++v)
            lanes[v] = Vec<T>::fma(widened_vector<T>(from + v * kStep), widened_vector<T>(with + v * kStep), lanes[v]);
    };
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) some(x + i, y + i);
    if (i < n) {
        T sums[kLanes];
        for (int v = 0; v < kVectors<T>; ++v) Vec<T>::store(sums + v * kStep, lanes[v]);
        for (int l = 0; i + l < n; ++l)
            sums[l] = tape::TENON_ISA::fma(widened_element<T>(x[i + l]), widened_element<T>(y[i + l]), sums[l]);
        for (int v = 0; v < kVectors<T>; ++v) lanes[v] = Vec<T>::load(sums + v * kStep);
    }
    return folded<T>(joined<T>(lanes), Plus{});
}

template <class Store>
bool finite(const void* words, std::int64_t n) {
    using T = typename Store::Type;
    using Bits = typename Exp2<T>::Bits;
    constexpr int kStep = Vec<T>::kLanes;
    typedef Bits Words __attribute__((vector_size(dense::kVectorBytes)));
    const auto* x = static_cast<const T*>(words);
    // The exponent plus one reaches the sign's place where all its bits are set.
    const auto special = [](auto u) __attribute__((always_inline)) { return (u & Store::kExponent) + Store::kLastBit; };
    Words all = {};
    std::int64_t i = 0;
    for (; i + kStep <= n; i += kStep) all |= special(reinterpret_cast<Words>(Vec<T>::load(x + i)));
    Bits any = 0;
    for (; i < n; ++i) any |= special(tape::TENON_ISA::bits(x[i]));
    for (int l = 0; l < kStep; ++l) any |= all[l];
    return (any & (Store::kExponent + Store::kLastBit)) == 0;
}

template <class Store>
constexpr Passes<typename Store::Type> passes() {
    using T = typename Store::Type;
    return {softmax<Store>, logits<T>,   merge<T>,      keep<T>,
            divide<T>,      multiply<T>, slopes<Store>, dot<T, typename Store::Stored>,
            finite<Store>};
}

}  // namespace
}  // namespace tenon::product::attention
