// The functions of the tape on float and double: branch-free scalar code that the compiler vectorises, once for each
// instruction set. Every operation is IEEE and every fused multiply-add is explicit, so all sets give the same bits.
// The coefficients are our own, printed by tools/fit_polynomials.py.
//
// Maximum error in ulp (units in the last place of the exact result). float: measured over all 2^32 inputs (pow: a
// sample). double: the largest seen on millions of points is below the bound. math_test.cpp asserts both.
//
//              exp   expm1 log   log1p sin   cos   atan  tanh  erf   rsqrt logistic pow
//   float      0.91  1.60  0.85  1.50  0.51  0.51  1.80  1.60  1.70  1.50  2.50     0.51
//   double     1.00  2.00  0.90  1.50  0.85  0.85  2.00  1.60  1.30  1.50  2.50     1.20
//
// add, subtract, multiply, divide, sqrt, fma, floor, ceil, round and trunc are exact, as IEEE 754 says. NaN gives NaN,
// signed zeros keep their sign if the function is odd, and subnormals are neither flushed nor assumed absent.
#pragma once

#include <cstdint>

#ifndef TENON_ISA
#define TENON_ISA baseline
#endif
#ifdef __CUDACC_RTC__
#define TENON_INLINE __forceinline__
#else
#define TENON_INLINE [[gnu::always_inline]] inline
#endif

namespace tenon::tape::TENON_ISA {

// clang-format off
#ifdef __CUDACC_RTC__  // the same operations under the names that device code has for them
TENON_INLINE float fma(float a, float b, float c) { return ::__fmaf_rn(a, b, c); }
TENON_INLINE double fma(double a, double b, double c) { return ::__fma_rn(a, b, c); }
TENON_INLINE float sqrt(float x) { return ::__fsqrt_rn(x); }
TENON_INLINE double sqrt(double x) { return ::__dsqrt_rn(x); }
#else
TENON_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
TENON_INLINE double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
TENON_INLINE float sqrt(float x) { return __builtin_sqrtf(x); }
TENON_INLINE double sqrt(double x) { return __builtin_sqrt(x); }
#endif
TENON_INLINE std::uint32_t bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }
TENON_INLINE std::uint64_t bits(double x) { return __builtin_bit_cast(std::uint64_t, x); }
TENON_INLINE float from_bits(std::uint32_t x) { return __builtin_bit_cast(float, x); }
TENON_INLINE double from_bits(std::uint64_t x) { return __builtin_bit_cast(double, x); }
// clang-format on

/// c0 + c1 x + c2 x^2 + ..., by Horner's rule.
template <class T, class C>
TENON_INLINE T polynomial(T, C c) {
    return T(c);
}
template <class T, class C, class... Rest>
TENON_INLINE T polynomial(T x, C c, Rest... rest) {
    return fma(x, polynomial(x, rest...), T(c));
}
template <class T>
TENON_INLINE T choose(bool first, T a, T b) {
    return first ? a : b;
}
/// The lesser of both; NaN if x is.
template <class T>
TENON_INLINE T at_most(T limit, T x) {
    return choose(x > limit, limit, x);
}

/// What the functions need to know about a type. A polynomial is here if its degree depends on the type.
template <class T>
struct Real;

template <>
struct Real<float> {
    using Bits = std::uint32_t;
    static constexpr int kMantissa = 23;
    static constexpr Bits kBias = 127, kSign = 0x80000000u, kInfinity = 0x7f800000u, kSqrtHalf = 0x3f3504f3u;
    static constexpr float kRound = 0x1.8p23f;  // adding it rounds to an integer, found in the low bits of the sum
    static constexpr float kInteger = 0x1p23f;  // the bits of an integer below it, or-ed into its own, give their sum
    static constexpr float kSmallest = 0x1p-126f;  // normal
    static constexpr float kTiny = 0x1p-26f;  // f(x) = x below, for f(x) = x + O(x^2)
    static constexpr float kLog2E = 0x1.715476p+0f, kLn2High = 0x1.62e43p-1f, kLn2Low = -0x1.05c61p-29f;
    static constexpr float kHalfPiHigh = 0x1.921fb6p+0f, kHalfPiLow = -0x1.777a5cp-25f;
    static constexpr float kExpNormal = 87;  // exp(x) is a normal number for |x| below
    static constexpr float kExpLow = -104, kExpHigh = 89, kExpm1Low = -20;  // beyond: 0, infinity, -1
    static constexpr float kTanhOne = 10, kErfOne = 4;  // 1 from here on

    /// (exp(r) - 1 - r) / r^2
    template <class T>
    TENON_INLINE static T exp_polynomial(T r) {
        return polynomial(r, 0x1.0p-1f, 0x1.555556p-3f, 0x1.5554b6p-5f, 0x1.111088p-7f, 0x1.6d6f64p-10f,
                          0x1.a1ae7p-13f);
    }
    /// (2 atanh(s) / s - 2) / z, z = s^2
    TENON_INLINE static float log_polynomial(float z) {
        return polynomial(z, 0x1.555554p-1f, 0x1.999a7cp-2f, 0x1.2438a8p-2f, 0x1.e2fdd2p-3f);
    }
    /// (atan(t) / t - 1) / z, z = t^2
    TENON_INLINE static float atan_polynomial(float z) {
        return polynomial(z, -0x1.555552p-2f, 0x1.9996f8p-3f, -0x1.244b9cp-3f, 0x1.c03162p-4f, -0x1.473542p-4f,
                          0x1.3db46ap-5f);
    }
    // Reduced arguments of exp are in a unit in which ln 2 is kExpStep to 36 bits, a number of 16 bits. So its products
    // with exponents are exact, and no second part of ln 2 is needed.
    static constexpr float kExpScale = 0x1.0c4a62p-1f, kExpStep = 0x1.73eep-2f;
    /// exp(r / kExpScale) on the reduced range
    template <class T>
    TENON_INLINE static T exp_reduced(T r) {
        return polynomial(r, 1.0f, 0x1.e88b82p+0f, 0x1.d22a12p+0f, 0x1.2889a8p+0f, 0x1.1af82p-1f, 0x1.b1a89ap-3f,
                          0x1.10d3d8p-4f);
    }
    /// (tanh(a) / a - 1) / z, z = a^2
    template <class T>
    TENON_INLINE static T tanh_polynomial(T z) {
        return polynomial(z, -0x1.555554p-2f, 0x1.1110dep-3f, -0x1.ba09dep-5f, 0x1.64e76ep-6f, -0x1.13cb1ap-7f,
                          0x1.3a66dap-9f);
    }
    /// -log(erfc(a)) / a - 1, 0 <= a <= 4
    template <class T>
    TENON_INLINE static T erf_log_polynomial(T a) {
        return polynomial(a, 0x1.06eba8p-3f, 0x1.45f2fap-1f, 0x1.a4fa5ep-4f, -0x1.39cdc6p-6f, -0x1.505f64p-13f,
                          0x1.b5003ep-10f, -0x1.4bc9d6p-11f, 0x1.ed6c2p-14f, -0x1.36967cp-17f);
    }
};

template <>
struct Real<double> {
    using Bits = std::uint64_t;
    static constexpr int kMantissa = 52;
    static constexpr Bits kBias = 1023, kSign = 0x8000000000000000u, kInfinity = 0x7ff0000000000000u,
                          kSqrtHalf = 0x3fe6a09e667f3bcdu;
    static constexpr double kRound = 0x1.8p52, kInteger = 0x1p52, kSmallest = 0x1p-1022, kTiny = 0x1p-55;
    static constexpr double kLog2E = 0x1.71547652b82fep+0, kLn2High = 0x1.62e42fefa39efp-1,
                            kLn2Low = 0x1.abc9e3b39803fp-56;
    static constexpr double kHalfPiHigh = 0x1.921fb54442d18p+0, kHalfPiLow = 0x1.1a62633145c07p-54;
    static constexpr double kExpNormal = 708;
    static constexpr double kExpLow = -746, kExpHigh = 710, kExpm1Low = -40, kTanhOne = 20, kErfOne = 6;

    TENON_INLINE static double exp_polynomial(double r) {
        return polynomial(r, 0x1.0p-1, 0x1.5555555555559p-3, 0x1.555555555555bp-5, 0x1.111111110f7e1p-7,
                          0x1.6c16c16c13e4dp-10, 0x1.a01a01af8132ap-13, 0x1.a01a01b31cb9bp-16, 0x1.71ddf926ce101p-19,
                          0x1.27e4bf8816e6bp-22, 0x1.af5d8727f2619p-26, 0x1.1fa0274356f68p-29);
    }
    TENON_INLINE static double exp_reduced(double r) { return 1 + fma(r * r, exp_polynomial(r), r); }
    TENON_INLINE static double log_polynomial(double z) {
        return polynomial(z, 0x1.5555555555593p-1, 0x1.999999997fb32p-2, 0x1.2492494217958p-2, 0x1.c71c51e7ff793p-3,
                          0x1.7466462b27b25p-3, 0x1.39a0f520c3df9p-3, 0x1.2f0d8d92a66efp-3);
    }
    TENON_INLINE static double atan_polynomial(double z) {
        return polynomial(z, -0x1.5555555555552p-2, 0x1.9999999999056p-3, -0x1.2492492451404p-3, 0x1.c71c71aa52d6ap-4,
                          -0x1.745d13819cae1p-4, 0x1.3b135fe7d5b76p-4, -0x1.110c694dc7962p-4, 0x1.e1826af0704bep-5,
                          -0x1.ac70a56bfdf97p-5, 0x1.77f571b940014p-5, -0x1.300ed865b5c46p-5, 0x1.8384b7f179e94p-6,
                          -0x1.12142eef12d29p-7);
    }
    TENON_INLINE static double tanh_polynomial(double z) {
        return polynomial(z, -0x1.5555555555555p-2, 0x1.111111111110dp-3, -0x1.ba1ba1ba1b4eap-5, 0x1.664f4882a2ea2p-6,
                          -0x1.226e3557f6c26p-7, 0x1.d6d3cf19606fep-9, -0x1.7da339c0cc78bp-10, 0x1.35555f27001d2p-11,
                          -0x1.f53c30e51725bp-13, 0x1.945e6e5b74404p-14, -0x1.3d27e4f94fb2fp-15, 0x1.b56485fd0cb78p-17,
                          -0x1.7e748ef904158p-19);
    }
    /// erf(x) / x - 1, z = x^2, |x| <= 1
    TENON_INLINE static double erf_polynomial(double z) {
        return polynomial(z, 0x1.06eba8214db69p-3, -0x1.812746b0379e6p-2, 0x1.ce2f21a042b20p-4, -0x1.b82ce3128499cp-6,
                          0x1.565bcd0db02dep-8, -0x1.c02db3d8ed15ap-11, 0x1.f9a321a11c54ep-14, -0x1.f4d1df3931e29p-17,
                          0x1.b9def19cd0495p-20, -0x1.5f1d36b9b9a1cp-23, 0x1.f7a411dd4bc18p-27, -0x1.386abfea0d8f7p-30,
                          0x1.0579a8b51d3bbp-34);
    }
    /// -log(erfc(x)), 1 <= x <= 6
    TENON_INLINE static double erfc_polynomial(double x) {
        return polynomial(x, 0x1.f915e12071fbcp-26, 0x1.20dd70863eaccp+0, 0x1.45f329c387605p-1, 0x1.a4f2c43571585p-4,
                          -0x1.3962cef24b6e4p-6, -0x1.a9d1329245cd8p-13, 0x1.b74f7afd6bd1ep-10, -0x1.22047fd075f78p-11,
                          -0x1.6753c741fb5dfp-16, 0x1.cf32e8f333e8ap-14, -0x1.0eee885c8dcd7p-14, 0x1.9648e62ae59ecp-16,
                          -0x1.c5f40e50a4fc9p-18, 0x1.8937c8b752ebap-20, -0x1.096dfa3859939p-22, 0x1.135ae1ff639aep-25,
                          -0x1.a91639974dc00p-29, 0x1.cc6386736d405p-33, -0x1.3835d3445af25p-37, 0x1.8eeff4ebb71c1p-43);
    }
};

/// What a function works on: one element, or several (pack.h).
template <class T>
struct Elements {
    using One = T;
    using Bits = typename Real<T>::Bits;
};
template <class T>
using RealOf = Real<typename Elements<T>::One>;
template <class T>
using BitsOf = typename Elements<T>::Bits;

template <class T>
inline constexpr T kInfinity = __builtin_bit_cast(T, Real<T>::kInfinity);
template <class T>
inline constexpr T kNaN = __builtin_bit_cast(T, static_cast<typename Real<T>::Bits>(Real<T>::kInfinity |
                                                                                    Real<T>::kInfinity >> 1));

template <class T>
TENON_INLINE T abs(T x) {
    return from_bits(bits(x) & ~RealOf<T>::kSign);
}
template <class T>
TENON_INLINE T copysign(T magnitude, T sign) {
    return from_bits((bits(magnitude) & ~RealOf<T>::kSign) | (bits(sign) & RealOf<T>::kSign));
}
/// 2^k for a biased exponent k in [0, 2 bias].
template <class T>
TENON_INLINE T power_of_two(BitsOf<T> biased) {
    return from_bits(biased << RealOf<T>::kMantissa);
}

/// x = k ln 2 + r, |r| <= ln 2 / 2 and slightly more. `k` has the bits of kRound added, which all vanish when k is
/// shifted to an exponent's place; it is correct modulo 2^bits, and meaningless for NaN.
template <class T>
struct Reduced {
    BitsOf<T> k;
    T r;
};
/// Of x + tail.
template <class T>
TENON_INLINE Reduced<T> reduce_ln2(T x, T tail) {
    using R = Real<T>;
    const T shifted = fma(x, R::kLog2E, R::kRound);
    const T n = shifted - R::kRound;
    const T r = fma(-n, R::kLn2High, x);  // exact
    return {bits(shifted), fma(-n, R::kLn2Low, r + tail)};
}
template <class T>
TENON_INLINE Reduced<T> reduce_ln2(T x) {
    using R = RealOf<T>;
    const T shifted = fma(x, T(R::kLog2E), T(R::kRound));
    const T n = R::kRound - shifted;  // -k
    return {bits(shifted), fma(n, T(R::kLn2Low), fma(n, T(R::kLn2High), x))};
}
/// For exp_reduced.
template <class T>
TENON_INLINE Reduced<T> reduce_exp(T x) {
    using R = RealOf<T>;
    const T shifted = fma(x, T(R::kLog2E), T(R::kRound));
    const T steps = fma(shifted, T(-R::kExpStep), T(R::kRound * R::kExpStep));  // -k kExpStep, exact
    return {bits(shifted), fma(x, T(R::kExpScale), steps)};
}
TENON_INLINE Reduced<double> reduce_exp(double x) { return reduce_ln2(x); }
/// exp(r) - 1 on the reduced range.
template <class T>
TENON_INLINE T expm1_reduced(T r) {
    return fma(r * r, RealOf<T>::exp_polynomial(r), r);
}

/// exp(x) if it is normal (is_normal_exp): the bits of exp, in half the operations.
template <class T>
TENON_INLINE bool is_normal_exp(T x) {
    return abs(x) < Real<T>::kExpNormal;
}
template <class T>
TENON_INLINE T exp_normal(T x) {
    const auto [k, r] = reduce_exp(x);
    return from_bits(bits(RealOf<T>::exp_reduced(r)) + (k << RealOf<T>::kMantissa));
}

/// m 2^k, with k as Reduced has it, in two factors, each a normal number. The first product is exact, so a subnormal
/// result is rounded once.
template <class T>
TENON_INLINE T scale_by(T m, BitsOf<T> k) {
    const auto sum = k - bits(RealOf<T>::kRound) + 2 * RealOf<T>::kBias, half = sum >> 1;  // of both biased exponents
    return m * power_of_two<T>(half) * power_of_two<T>(sum - half);
}

template <class T>
TENON_INLINE T clamped_exp(T x) {
    using R = RealOf<T>;
    x = x > R::kExpHigh ? R::kExpHigh : x;
    return x < R::kExpLow ? R::kExpLow : x;
}
template <class T>
TENON_INLINE T exp(T x) {
    const auto [k, r] = reduce_exp(clamped_exp(x));
    return scale_by(Real<T>::exp_reduced(r), k);
}
/// exp(x + tail), |tail| far below |x|.
template <class T>
TENON_INLINE T exp(T x, T tail) {
    const auto [k, r] = reduce_ln2(clamped_exp(x), tail);
    return scale_by(Real<T>::exp_reduced(r), k);
}

template <class T>
TENON_INLINE T expm1(T x) {
    using R = Real<T>;
    T c = x > R::kExpHigh ? R::kExpHigh : x;
    c = c < R::kExpm1Low ? R::kExpm1Low : c;
    const auto [k, r] = reduce_ln2(c);
    const T half = power_of_two<T>(k + R::kBias - 1);  // half of 2^k, which itself may overflow
    const T y = fma(half, expm1_reduced(r), half - T(0.5));
    return abs(x) < R::kTiny ? x : y + y;
}

/// log of u = 2^k (1 + f) given k (as a number), f in [sqrt(1/2) - 1, sqrt(2) - 1].
template <class T>
TENON_INLINE T log_reduced(T k, T f) {
    using R = Real<T>;
    const T s = f / (2 + f);
    const T z = s * s;
    const T half_square = T(0.5) * f * f;
    const T tail = fma(s, fma(z, R::log_polynomial(z), half_square), k * R::kLn2Low);
    return fma(k, R::kLn2High, f - (half_square - tail));
}
/// k + bias of a positive normal u = 2^k m, m in [sqrt(1/2), sqrt(2)).
template <class T>
TENON_INLINE typename Real<T>::Bits log_exponent(T u) {
    using R = Real<T>;
    return (bits(u) - R::kSqrtHalf + (R::kBias << R::kMantissa)) >> R::kMantissa;
}
/// The number k + bias - shift.
template <class T>
TENON_INLINE T exponent_value(typename Real<T>::Bits biased, T shift) {
    return from_bits(biased | bits(Real<T>::kInteger)) - (Real<T>::kInteger + shift);
}
/// y = log of u, corrected if u is not positive and finite.
template <class T>
TENON_INLINE T log_special(T u, T y) {
    y = u == kInfinity<T> ? u : y;
    return u > 0 ? y : (u == 0 ? -kInfinity<T> : kNaN<T>);
}

template <class T>
TENON_INLINE T log(T x) {
    using R = Real<T>;
    const bool subnormal = x < R::kSmallest;
    const T u = subnormal ? x * R::kInteger : x;
    const auto biased = log_exponent(u);
    const T m = from_bits(bits(u) - ((biased - R::kBias) << R::kMantissa));
    const T k = exponent_value(biased, subnormal ? T(R::kBias) + R::kMantissa : T(R::kBias));
    return log_special(x, log_reduced(k, m - 1));
}

template <class T>
TENON_INLINE T log1p(T x) {
    using R = Real<T>;
    const T u = 1 + x;
    const T rest = x < 1 ? x - (u - 1) : 1 - (u - x);  // 1 + x - u, exact
    const auto biased = log_exponent(u);
    const T m = from_bits(bits(u) - ((biased - R::kBias) << R::kMantissa));
    const T scale = biased < 2 * R::kBias ? power_of_two<T>(2 * R::kBias - biased) : T(0);
    const T y = log_reduced(exponent_value(biased, T(R::kBias)), fma(rest, scale, m - 1));
    return abs(x) < R::kTiny ? x : log_special(u, y);
}

template <class T>
TENON_INLINE T atan(T x) {
    using R = Real<T>;
    // atan(a) = base + atan(t), |t| <= 1/2: t = a, (a - 1) / (a + 1) or -1 / a.
    const T a = abs(x);
    const bool mid = a > T(0.5), far = a > T(0x1.3504f333f9de6p+1);
    const T numerator = far ? T(-1) : mid ? a - 1 : a;
    const T denominator = far ? a : mid ? a + 1 : T(1);
    const T t = numerator / denominator;
    const T z = t * t;
    const T high = far ? R::kHalfPiHigh : mid ? R::kHalfPiHigh / 2 : T(0);
    const T low = far ? R::kHalfPiLow : mid ? R::kHalfPiLow / 2 : T(0);
    return copysign(high + (fma(t * z, R::atan_polynomial(z), t) + low), x);
}

template <class T>
TENON_INLINE T tanh(T x) {
    using R = RealOf<T>;
    T a = abs(x);
    const auto far = a > T(typename Elements<T>::One(0.55));
    const T near = fma(x * (x * x), R::tanh_polynomial(x * x), x);
    a = at_most(T(R::kTanhOne), a);
    return choose(far, copysign(1 - 2 / (exp_normal(2 * a) + 1), x), choose(x == 0, x, near));
}

TENON_INLINE double erf(double x) {
    using R = Real<double>;
    double a = abs(x);
    const bool far = a >= 1;
    const double near = fma(x, R::erf_polynomial(x * x), x);
    a = a > R::kErfOne ? R::kErfOne : a;
    a = far ? a : 1.0;
    return far ? copysign(1 - exp_normal(-R::erfc_polynomial(a)), x) : near;
}
/// -expm1(log(erfc(|x|))): without a second branch for small x.
template <class T>
TENON_INLINE T erf(T x) {
    using R = RealOf<T>;
    const T a = at_most(T(R::kErfOne), abs(x));
    // log(erfc(a)), reduced without the low part of ln 2: where that part matters, erfc is far below an ulp of 1.
    const T t = -fma(a, R::erf_log_polynomial(a), a);
    const T shifted = fma(t, T(R::kLog2E), T(R::kRound));
    const T r = fma(R::kRound - shifted, T(R::kLn2High), t);
    const T scale = power_of_two<T>(bits(shifted) - bits(R::kRound) + R::kBias);
    return copysign(fma(scale, expm1_reduced(r), scale - 1), x);
}

template <class T>
TENON_INLINE T rsqrt(T x) {
    return 1 / sqrt(x);
}

/// 1 / (1 + e) or e / (1 + e), e = exp(-|x|).
template <class T>
TENON_INLINE T logistic(T x) {
    using R = RealOf<T>;
    T c = -abs(x);
    c = choose(c < R::kExpLow, T(R::kExpLow), c);
    const auto [k, r] = reduce_ln2(c);
    const T p = expm1_reduced(r);
    const T scale = choose(c < -R::kExpHigh / 2, T(0), power_of_two<T>(k + R::kBias));  // 1 + e = 1 long before
    return choose(x < 0, scale_by(1 + p, k), T(1)) / fma(scale, p, 1 + scale);
}

/// A value and the rounding error it carries: high + low.
struct Pair {
    double high, low;
};

/// log(x) to about 68 bits, for x > 0 and finite.
TENON_INLINE Pair log_pair(double x) {
    using R = Real<double>;
    const bool subnormal = x < R::kSmallest;
    const double u = subnormal ? x * R::kInteger : x;
    const auto biased = log_exponent(u);
    const double m = from_bits(bits(u) - ((biased - R::kBias) << R::kMantissa));
    const double k = exponent_value(biased, subnormal ? double(R::kBias) + R::kMantissa : double(R::kBias));
    // s = (m - 1) / (m + 1), z = s^2, cube = s^3, each a pair.
    const double f = m - 1, d = m + 1, d_low = m - (d - 1);
    const double s = f / d, s_low = (fma(-s, d, f) - s * d_low) / d;
    const double z = s * s, z_low = fma(s, s, -z) + 2 * s * s_low;
    const double cube = z * s, cube_low = fma(z, s, -cube) + (z * s_low + z_low * s);
    // log m = 2 s + s^3 (2/3 + z q(z))
    const double q =
        z * polynomial(z, 0x1.9999999999b33p-2, 0x1.24924924577f9p-2, 0x1.c71c722de432bp-3, 0x1.745ce9b68b9e0p-3,
                       0x1.3b1ef4698271ap-3, 0x1.0f7f200a40f1ap-3, 0x1.0e4a355415e14p-3);
    const double third = 0x1.5555555555555p-1 + q,
                 third_low = (0x1.5555555555555p-1 - third) + q + 0x1.5555555555555p-55;
    const double u3 = cube * third, u3_low = fma(cube, third, -u3) + (cube * third_low + cube_low * third);
    // k ln 2 (the high part of ln 2 has 41 bits, so the product is exact) + 2 s + u3
    const double a = k * 0x1.62e42fefa2p-1, b = 2 * s;
    const double ab = a + b, ab_low = b - (ab - a);
    const double high = ab + u3, high_low = u3 - (high - ab);
    return {high, fma(k, 0x1.9ef35793c7673p-41, ab_low) + (high_low + (2 * s_low + u3_low))};
}

/// x^y given |x|^y, by the rules of C's pow: y = 0 or x = 1 gives 1 whatever the other is; a negative finite x needs an
/// integer y.
template <class T>
TENON_INLINE T pow_special(T x, T y, T magnitude) {
    const T half = T(0.5) * y;
    // Rounds to an integer by an addition if there is a fraction to round.
    const T c = copysign(Real<T>::kInteger, y), h = half;
    const bool integer = !(abs(y) < Real<T>::kInteger) || (y + c) - c == y;
    const bool even = !(abs(h) < Real<T>::kInteger) || (h + c) - c == h;
    T r = magnitude;
    r = x < 0 && x > -kInfinity<T> && !integer ? kNaN<T> : r;
    r = integer && !even && (bits(x) & Real<T>::kSign) != 0 ? -r : r;
    r = x == 1 || y == 0 || (x == -1 && abs(y) == kInfinity<T>) ? T(1) : r;
    return r;
}

TENON_INLINE double pow(double x, double y) {
    const double a = abs(x);
    const Pair l = log_pair(a);
    const double high = log_special(a, l.high);
    const double product = y * high;
    const double low = fma(y, high, -product) + y * l.low;
    return pow_special(x, y, exp(product, abs(product) < 800 ? low : 0.0));
}
/// In double, whose log has 29 bits to spare.
TENON_INLINE float pow(float x, float y) {
    return pow_special(x, y, static_cast<float>(exp(static_cast<double>(y) * log(static_cast<double>(abs(x))))));
}

}  // namespace tenon::tape::TENON_ISA
