// sin and cos, in double for both types. Arguments up to kLargeAngle are reduced branch-free; larger ones by an exact
// integer reduction (Payne and Hanek, 1983) in scalar code, which a kernel runs only for blocks that have such an
// argument. Both see each element by itself, so an element's position in a block does not change its bits.
#pragma once

#include "tape/math.h"

namespace tenon::tape::TENON_ISA {

inline constexpr double kLargeAngle = 0x1p25;

/// x = quadrant pi/2 + (high + low), |high| <= pi/4 and slightly more; the quadrant modulo 4.
struct Angle {
    std::uint64_t quadrant;
    double high, low;
};

/// |x| <= kLargeAngle. The products with the parts of pi/2 are exact or carried as pairs.
TENON_INLINE Angle reduce_angle(double x) {
    constexpr double kPart1 = 0x1.921fb54442d18p+0, kPart2 = 0x1.1a62633145c07p-54, kPart3 = -0x1.f1976b7ed8fbcp-110;
    const double shifted = fma(x, 0x1.45f306dc9c883p-1, Real<double>::kRound);
    const double n = shifted - Real<double>::kRound;
    const double r = fma(-n, kPart1, x);  // exact
    const double p = n * kPart2, p_low = fma(n, kPart2, -p);
    const double d = r - p, back = d - r;
    const double d_low = (r - (d - back)) - (p + back);
    const double low = d_low - fma(n, kPart3, p_low);
    const double high = d + low;
    return {bits(shifted), high, (d - high) + low};
}

/// The same with two parts of pi/2 only: for float arguments, whose nearest multiple of pi/2 is at least 2^-30 away.
TENON_INLINE Angle reduce_float_angle(double x) {
    const double shifted = fma(x, 0x1.45f306dc9c883p-1, Real<double>::kRound);
    const double n = shifted - Real<double>::kRound;
    return {bits(shifted), fma(-n, 0x1.1a62633145c07p-54, fma(-n, 0x1.921fb54442d18p+0, x)), 0.0};
}

/// |x| > kLargeAngle, finite: x 2/pi modulo 4 to 190 bits after the point, from the bits of 2/pi that matter.
inline Angle reduce_large_angle(double x) {  // long: a table, and steps that each go on with the same three words
    __extension__ using Wide = unsigned __int128;
    // 2/pi after a word of zeros.
    static constexpr std::uint64_t kTwoOverPi[21] = {0,
                                                     0xa2f9836e4e441529u,
                                                     0xfc2757d1f534ddc0u,
                                                     0xdb6295993c439041u,
                                                     0xfe5163abdebbc561u,
                                                     0xb7246e3a424dd2e0u,
                                                     0x06492eea09d1921cu,
                                                     0xfe1deb1cb129a73eu,
                                                     0xe88235f52ebb4484u,
                                                     0xe99c7026b45f7e41u,
                                                     0x3991d639835339f4u,
                                                     0x9c845f8bbdf9283bu,
                                                     0x1ff897ffde05980fu,
                                                     0xef2f118b5a0a6d1fu,
                                                     0x6d367ecf27cb09b7u,
                                                     0x4f463f669e5fea2du,
                                                     0x7527bac7ebe5f17bu,
                                                     0x3d0739f78a5292eau,
                                                     0x6bfb5fb11f8d5d08u,
                                                     0x56033046fc7b6babu,
                                                     0};
    const std::uint64_t u = bits(x);
    const std::uint64_t m = (u & 0xfffffffffffffu) | 0x10000000000000u;
    const int e = static_cast<int>(u >> 52 & 0x7ff) - 1075;  // |x| = m 2^e
    // Bits of 2/pi before number e - 1 (counted from 1) contribute multiples of 4.
    const int start = e + 62, word = start >> 6, shift = start & 63;
    const auto window = [&](int i) {
        return shift == 0 ? kTwoOverPi[i] : kTwoOverPi[i] << shift | kTwoOverPi[i + 1] >> (64 - shift);
    };
    // m times the window, modulo 2^192: the quadrant in 2 bits, the fraction in 190.
    const Wide low = static_cast<Wide>(m) * window(word + 2);
    const Wide mid = static_cast<Wide>(m) * window(word + 1) + static_cast<std::uint64_t>(low >> 64);
    std::uint64_t a = m * window(word) + static_cast<std::uint64_t>(mid >> 64);
    std::uint64_t b = static_cast<std::uint64_t>(mid), c = static_cast<std::uint64_t>(low);
    std::uint64_t quadrant = a >> 62;
    a <<= 2;
    a |= b >> 62;
    b = b << 2 | c >> 62;
    c <<= 2;
    // To the nearest: a fraction of a half or more becomes negative.
    const bool negative = a >> 63 != 0;
    if (negative) {
        ++quadrant;
        a = ~a, b = ~b, c = ~c;  // one unit in 2^-192 short of the negative
    }
    // Normalises, so that 53 + 64 bits follow the leading one. There are about 62 leading zeros at most.
    int zeros = 0;
    if (a == 0) {
        a = b, b = c, zeros = 64;
    }
    const int lead = __builtin_clzll(a | 1);
    if (lead != 0) {
        a = a << lead | b >> (64 - lead);
        b = b << lead | c >> (64 - lead);
    }
    zeros += lead;
    const double scale = power_of_two<double>(static_cast<std::uint64_t>(1023 - zeros));
    const double high = static_cast<double>(a >> 11) * 0x1p-53 * scale;
    const double low_part = static_cast<double>((a & 0x7ff) << 53 | b >> 11) * 0x1p-117 * scale;
    constexpr double kHalfPi = 0x1.921fb54442d18p+0, kHalfPiLow = 0x1.1a62633145c07p-54;
    double r = high * kHalfPi;
    double r_low = fma(high, kHalfPi, -r) + fma(high, kHalfPiLow, low_part * kHalfPi);
    const double sum = r + r_low;
    r_low = (r - sum) + r_low;
    const double sign = negative != (u >> 63 != 0) ? -1.0 : 1.0;
    return {u >> 63 != 0 ? 4 - (quadrant & 3) : quadrant, sign * sum, sign * r_low};
}

/// sin of the angle plus `turn` quadrants.
TENON_INLINE double sin_reduced(Angle a, std::uint64_t turn) {
    const std::uint64_t quadrant = a.quadrant + turn;
    const double r = a.high, z = r * r;
    const double s =
        polynomial(z, -0x1.5555555555555p-3, 0x1.111111111110bp-7, -0x1.a01a01a018acep-13, 0x1.71de3a5337a41p-19,
                   -0x1.ae645295dfcbdp-26, 0x1.612091259c957p-33, -0x1.aaa47c6f4b0c0p-41);
    const double c =
        polynomial(z, 0x1.5555555555555p-5, -0x1.6c16c16c16c10p-10, 0x1.a01a01a018dd6p-16, -0x1.27e4fb75fc2a8p-22,
                   0x1.1eed8ca23030fp-29, -0x1.9393369062faap-37, 0x1.aac4e77cfbdcdp-45);
    const double half = 0.5 * z, rest = 1 - half;
    const double sine = r + fma(r * z, s, a.low * rest);
    const double cosine = rest + (((1 - rest) - half) + fma(z * z, c, -r * a.low));
    return from_bits(bits((quadrant & 1) != 0 ? cosine : sine) ^ (quadrant & 2) << 62);
}

TENON_INLINE bool is_large_angle(double x) { return abs(x) > kLargeAngle && abs(x) < kInfinity<double>; }

// Zero is its own sine, sign and all, which the sum above would lose.
TENON_INLINE double sin_small(double x) { return x == 0 ? x : sin_reduced(reduce_angle(x), 0); }
TENON_INLINE double cos_small(double x) { return sin_reduced(reduce_angle(x), 1); }
TENON_INLINE float sin_small(float x) {
    return x == 0 ? x : static_cast<float>(sin_reduced(reduce_float_angle(static_cast<double>(x)), 0));
}
TENON_INLINE float cos_small(float x) {
    return static_cast<float>(sin_reduced(reduce_float_angle(static_cast<double>(x)), 1));
}

template <class T>
TENON_INLINE T sin(T x) {
    return is_large_angle(x) ? static_cast<T>(sin_reduced(reduce_large_angle(x), 0)) : sin_small(x);
}
template <class T>
TENON_INLINE T cos(T x) {
    return is_large_angle(x) ? static_cast<T>(sin_reduced(reduce_large_angle(x), 1)) : cos_small(x);
}

}  // namespace tenon::tape::TENON_ISA
