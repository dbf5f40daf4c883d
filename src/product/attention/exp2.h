// 2^x for attention's weights, in simple steps that vectors take too (passes.h): 0 below the smallest normal number;
// otherwise 2^n (1 + f c(f)), with n the nearest integer and f = x - n. The error is at most 1 ulp. NaN gives NaN; x
// must be below the largest exponent. Coefficients by tools/fit_polynomials.py.
#pragma once

#include <cstdint>

#include "tape/math.h"

namespace tenon::product::attention {

template <class T>
struct Exp2;

template <>
struct Exp2<float> {
    using Bits = std::uint32_t;
    static constexpr int kMantissa = 23;
    static constexpr float kRound = 0x1.8p23f, kLeast = -126;
    static constexpr Bits kOne = 0x3f800000u;
    static constexpr int kCount = 7;
    static constexpr float kCoefficients[kCount] = {
        0x1.41fd14p-13f, 0x1.5f3e62p-10f, 0x1.3b2d4cp-7f, 0x1.c6aee8p-5f, 0x1.ebfbdcp-3f, 0x1.62e43p-1f, 1};
};

template <>
struct Exp2<double> {
    using Bits = std::uint64_t;
    static constexpr int kMantissa = 52;
    static constexpr double kRound = 0x1.8p52, kLeast = -1022;
    static constexpr Bits kOne = 0x3ff0000000000000u;
    static constexpr int kCount = 12;
    static constexpr double kCoefficients[kCount] = {
        0x1.e79dde83c656dp-32, 0x1.e61b5a7868b51p-28, 0x1.b5267b98e93e3p-24, 0x1.62bfc79762aa3p-20,
        0x1.ffcbfbaa0a30cp-17, 0x1.4309130edafbdp-13, 0x1.5d87fe78cd54cp-10, 0x1.3b2ab6fba0110p-7,
        0x1.c6b08d7049fe8p-5,  0x1.ebfbdff82c5a4p-3,  0x1.62e42fefa39efp-1,  1};
};

inline constexpr double kLog2E = 0x1.71547652b82fep+0;
/// The lanes in which sums of a row are kept.
inline constexpr int kLanes = 16;

template <class T>
TENON_INLINE T exp2(T x) {
    using E = Exp2<T>;
    namespace math = tape::TENON_ISA;
    const T shifted = x + E::kRound, f = x - (shifted - E::kRound);
    T y = E::kCoefficients[0];
    for (int i = 1; i < E::kCount; ++i) y = math::fma(f, y, E::kCoefficients[i]);
    y *= math::from_bits(static_cast<typename E::Bits>((math::bits(shifted) << E::kMantissa) + E::kOne));
    return x < E::kLeast ? T(0) : y;
}

}  // namespace tenon::product::attention
