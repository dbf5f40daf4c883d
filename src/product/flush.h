// The arithmetic of the hardware bfloat16 dot product (AVX-512 BF16) in portable terms. Subnormal operands are read as
// zeros of their sign. A result is rounded to 24 bits, ties to even, as if the exponent had no lower bound; if it is
// then below 2^-126 in magnitude, it becomes a zero of its sign. (So tininess is detected after rounding, as on x86: a
// sum that rounds up to 2^-126 is kept.) An addition gives subnormals only exactly, so its rule is simple.
#pragma once

#include <bit>
#include <cstdint>

namespace tenon::product {

inline float flush(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    return (bits & 0x7f800000u) != 0 ? x : std::bit_cast<float>(bits & 0x80000000u);
}

inline float flush_add(float a, float b) { return flush(a + b); }

/// a * b + c, for bfloat16 values `a` and `b` and a `c`, all already flushed: the product is exact in float64.
inline float flush_fma(float a, float b, float c) {
    const float r = __builtin_fmaf(a, b, c);
    if (!(__builtin_fabsf(r) <= 0x1p-126f)) return r;
    if (__builtin_fabsf(r) < 0x1p-126f) return __builtin_copysignf(0.0f, r);
    // Did the result reach 2^-126 with 24 bits, or only with the fewer bits of a subnormal? The float64 sum, rounded to
    // odd, keeps what the second rounding needs; scaling it by 2^100 moves it away from the lower end of the exponents.
    const double p = static_cast<double>(a) * b, s = p + c, t = s - p;
    const double error = (p - (s - t)) + (c - t);
    auto bits = std::bit_cast<std::uint64_t>(s);
    if (error != 0 && (bits & 1) == 0) bits += (error > 0) == (s > 0) ? 1 : ~std::uint64_t{0};
    const auto scaled = static_cast<float>(std::bit_cast<double>(bits) * 0x1p100);
    return __builtin_fabsf(scaled) < 0x1p-26f ? __builtin_copysignf(0.0f, r) : r;
}

/// a * b + c for any float32 numbers, by the same rule. If the result may be near 2^-126, all three are scaled away
/// from the end of the exponents, and the decision is made there.
inline float flush_wide_fma(float a, float b, float c) {
    a = flush(a), b = flush(b), c = flush(c);
    const float r = __builtin_fmaf(a, b, c);
    if (!(__builtin_fabsf(r) <= 0x1p-126f)) return r;
    if (__builtin_fabsf(r) < 0x1p-126f) return __builtin_copysignf(0.0f, r);
    // |a b + c| is about 2^-126: scaling c, and the smaller factor, by 2^64 is exact.
    const bool a_small = __builtin_fabsf(a) < __builtin_fabsf(b);
    const float scaled = __builtin_fmaf(a_small ? a * 0x1p64f : a, a_small ? b : b * 0x1p64f, c * 0x1p64f);
    return __builtin_fabsf(scaled) < 0x1p-62f ? __builtin_copysignf(0.0f, r) : r;
}

}  // namespace tenon::product
