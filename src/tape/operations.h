// What each opcode computes, one element at a time.
#pragma once

#include "tape/element.h"
#include "tape/opcode.h"
#include "tape/reduction.h"
#include "tape/trigonometry.h"

namespace tenon::tape::TENON_ISA {

template <class T>
TENON_INLINE T wrap_add(T a, T b) {
    return static_cast<T>(static_cast<Unsigned<T>>(a) + static_cast<Unsigned<T>>(b));
}
template <class T>
TENON_INLINE T wrap_subtract(T a, T b) {
    return static_cast<T>(static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b));
}
template <class T>
TENON_INLINE T wrap_multiply(T a, T b) {
    return static_cast<T>(static_cast<Unsigned<T>>(a) * static_cast<Unsigned<T>>(b));
}

// clang-format off
#ifdef __CUDACC_RTC__
TENON_INLINE float floor(float x) { return ::floorf(x); }
TENON_INLINE double floor(double x) { return ::floor(x); }
TENON_INLINE float ceil(float x) { return ::ceilf(x); }
TENON_INLINE double ceil(double x) { return ::ceil(x); }
TENON_INLINE float trunc(float x) { return ::truncf(x); }
TENON_INLINE double trunc(double x) { return ::trunc(x); }
TENON_INLINE float modulo(float a, float b) { return ::fmodf(a, b); }
TENON_INLINE double modulo(double a, double b) { return ::fmod(a, b); }
#else
TENON_INLINE float floor(float x) { return __builtin_floorf(x); }
TENON_INLINE double floor(double x) { return __builtin_floor(x); }
TENON_INLINE float ceil(float x) { return __builtin_ceilf(x); }
TENON_INLINE double ceil(double x) { return __builtin_ceil(x); }
TENON_INLINE float trunc(float x) { return __builtin_truncf(x); }
TENON_INLINE double trunc(double x) { return __builtin_trunc(x); }
TENON_INLINE float modulo(float a, float b) { return __builtin_fmodf(a, b); }
TENON_INLINE double modulo(double a, double b) { return __builtin_fmod(a, b); }
#endif
// clang-format on

/// Rounds to the nearest integer, ties to even.
template <class T>
TENON_INLINE T round(T x) {
    const T a = abs(x);
    const T r = (a + Real<T>::kInteger) - Real<T>::kInteger;
    return a < Real<T>::kInteger ? copysign(r, x) : x;
}

template <class T>
TENON_INLINE T sign(T x) {
    if constexpr (kFloating<T>) return x > 0 ? T(1) : x < 0 ? T(-1) : x;
    return static_cast<T>((x > 0) - (x < 0));
}

/// IEEE 754-2019 maximum and minimum: NaN wins, and +0 is above -0.
#ifdef __CUDACC_RTC__  // which the hardware has for float
TENON_INLINE float maximum(float a, float b) {
    float x;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(x) : "f"(a), "f"(b));
    return x;
}
TENON_INLINE float minimum(float a, float b) {
    float x;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(x) : "f"(a), "f"(b));
    return x;
}
#endif
template <class T>
TENON_INLINE T maximum(T a, T b) {
    if constexpr (kFloating<T>)
        return a == b ? from_bits(bits(a) & bits(b)) : (a > b || a != a) ? a : b;
    else
        return a > b ? a : b;
}
template <class T>
TENON_INLINE T minimum(T a, T b) {
    if constexpr (kFloating<T>)
        return a == b ? from_bits(bits(a) | bits(b)) : (a < b || a != a) ? a : b;
    else
        return a < b ? a : b;
}

/// Python's %: the result has the sign of the divisor. For integers, 0 if the divisor is 0.
template <class T>
TENON_INLINE T remainder(T a, T b) {
    if constexpr (kFloating<T>) {
        const T r = modulo(a, b);
        return r == 0 ? copysign(r, b) : (r < 0) != (b < 0) ? r + b : r;
    } else {
        if (b == 0 || (std::is_signed_v<T> && b == static_cast<T>(-1))) return 0;
        const T r = static_cast<T>(a % b);
        return r != 0 && (r < 0) != (b < 0) ? static_cast<T>(r + b) : r;
    }
}

/// Python's //. For integers, 0 if the divisor is 0; the lowest value divided by -1 wraps to itself.
template <class T>
TENON_INLINE T floor_divide(T a, T b) {
    if constexpr (kFloating<T>) {
        if (b == 0) return a / b;
        const T r = modulo(a, b);
        const T exact = (a - r) / b;  // an integer except for rounding
        const T q = r != 0 && (r < 0) != (b < 0) ? exact - 1 : exact;
        const T down = floor(q);
        const T whole = q - down > T(0.5) ? down + 1 : down;
        return whole == 0 ? copysign(T(0), a / b) : whole;
    } else {
        if (b == 0) return 0;
        if (std::is_signed_v<T> && b == static_cast<T>(-1)) return wrap_subtract(T(0), a);
        const T q = static_cast<T>(a / b);
        return a % b != 0 && (a < 0) != (b < 0) ? static_cast<T>(q - 1) : q;
    }
}

/// Modulo 2^bits. A negative exponent gives the quotient truncated towards zero: 0, except for bases 1 and -1 (and 0
/// for base 0).
template <class T>
TENON_INLINE T integer_pow(T base, T exponent) {
    if (exponent < 0) return base == 1 ? T(1) : base == static_cast<T>(-1) ? ((exponent & 1) != 0 ? base : T(1)) : T(0);
    T result = 1;
    for (auto e = static_cast<Unsigned<T>>(exponent); e != 0; e >>= 1) {
        if ((e & 1) != 0) result = wrap_multiply(result, base);
        base = wrap_multiply(base, base);
    }
    return result;
}

/// Counts outside [0, bits) shift everything out: 0, or the sign for a signed right shift.
template <class T>
TENON_INLINE T left_shift(T a, T n) {
    constexpr int width = 8 * sizeof(T);
    const bool inside = n >= 0 && n < width;
    return inside ? static_cast<T>(static_cast<Unsigned<T>>(a)
                                   << (static_cast<unsigned>(n) & (8 * sizeof(Unsigned<T>) - 1)))
                  : T(0);
}
template <class T>
TENON_INLINE T right_shift(T a, T n) {
    constexpr int width = 8 * sizeof(T);
    const bool inside = n >= 0 && n < width;
    if constexpr (std::is_signed_v<T>)
        return static_cast<T>(a >> (inside ? n : static_cast<T>(width - 1)));
    else
        return inside ? static_cast<T>(a >> n) : T(0);
}

/// The next value after x towards y, for any IEEE format given by its bits.
template <class U>
TENON_INLINE U next_after(U x, U y, U infinity) {
    using S = std::make_signed_t<U>;
    constexpr U kSign = static_cast<U>(U(1) << (8 * sizeof(U) - 1));
    const U ax = static_cast<U>(x & ~kSign), ay = static_cast<U>(y & ~kSign);
    // In the order of the values, with both zeros at 0.
    const S kx = static_cast<S>((x & kSign) != 0 ? -static_cast<S>(ax) : static_cast<S>(ax));
    const S ky = static_cast<S>((y & kSign) != 0 ? -static_cast<S>(ay) : static_cast<S>(ay));
    const S k = static_cast<S>(kx < ky ? kx + 1 : kx - 1);
    const bool negative = k < 0 || (k == 0 && kx < 0);
    const U moved = static_cast<U>((negative ? kSign : U(0)) | static_cast<U>(k < 0 ? -k : k));
    const U nan = static_cast<U>(infinity | infinity >> 1);
    return ax > infinity || ay > infinity ? nan : kx == ky ? y : moved;
}

template <Opcode op, class T>
TENON_INLINE auto unary(T x) {
    if constexpr (op == Opcode::negative) {
        if constexpr (kFloating<T>)
            return -x;
        else
            return wrap_subtract(T(0), x);
    } else if constexpr (op == Opcode::abs) {
        if constexpr (kFloating<T>)
            return abs(x);
        else
            return x < 0 ? wrap_subtract(T(0), x) : x;
    } else if constexpr (op == Opcode::sign)
        return sign(x);
    else if constexpr (op == Opcode::square) {
        if constexpr (kFloating<T>)
            return x * x;
        else
            return wrap_multiply(x, x);
    } else if constexpr (op == Opcode::bitwise_invert) {
        if constexpr (std::is_same_v<T, bool>)
            return !x;
        else
            return static_cast<T>(~x);
    } else if constexpr (op == Opcode::reciprocal)
        return 1 / x;
    else if constexpr (op == Opcode::exp)
        return exp(x);
    else if constexpr (op == Opcode::expm1)
        return expm1(x);
    else if constexpr (op == Opcode::log)
        return log(x);
    else if constexpr (op == Opcode::log1p)
        return log1p(x);
    else if constexpr (op == Opcode::sqrt)
        return sqrt(x);
    else if constexpr (op == Opcode::rsqrt)
        return rsqrt(x);
    else if constexpr (op == Opcode::sin)
        return sin(x);
    else if constexpr (op == Opcode::cos)
        return cos(x);
    else if constexpr (op == Opcode::atan)
        return atan(x);
    else if constexpr (op == Opcode::tanh)
        return tanh(x);
    else if constexpr (op == Opcode::erf)
        return erf(x);
    else if constexpr (op == Opcode::logistic)
        return logistic(x);
    else if constexpr (op == Opcode::floor)
        return floor(x);
    else if constexpr (op == Opcode::ceil)
        return ceil(x);
    else if constexpr (op == Opcode::round)
        return round(x);
    else if constexpr (op == Opcode::trunc)
        return trunc(x);
    else if constexpr (op == Opcode::isnan)
        return x != x;
    else if constexpr (op == Opcode::isfinite)
        return abs(x) < kInfinity<T>;
    else
        static_assert(op == Opcode::negative, "not a unary opcode");
}

/// Opcodes with a faster form, with the same bits, for the elements that is_usual accepts.
constexpr bool has_usual(Opcode op) { return op == Opcode::exp || op == Opcode::sin || op == Opcode::cos; }
template <Opcode op, class T>
TENON_INLINE bool is_usual(T x) {
    if constexpr (op == Opcode::exp)
        return is_normal_exp(x);
    else
        return !is_large_angle(x);
}
template <Opcode op, class T>
TENON_INLINE T usual(T x) {
    if constexpr (op == Opcode::exp)
        return exp_normal(x);
    else if constexpr (op == Opcode::sin)
        return sin_small(x);
    else
        return cos_small(x);
}

template <Opcode op, class T>
TENON_INLINE auto binary(T a, T b) {
    if constexpr (op == Opcode::add) {
        if constexpr (kFloating<T>)
            return a + b;
        else
            return wrap_add(a, b);
    } else if constexpr (op == Opcode::subtract) {
        if constexpr (kFloating<T>)
            return a - b;
        else
            return wrap_subtract(a, b);
    } else if constexpr (op == Opcode::multiply) {
        if constexpr (kFloating<T>)
            return a * b;
        else
            return wrap_multiply(a, b);
    } else if constexpr (op == Opcode::pow) {
        if constexpr (kFloating<T>)
            return pow(a, b);
        else
            return integer_pow(a, b);
    } else if constexpr (op == Opcode::divide)
        return a / b;
    else if constexpr (op == Opcode::floor_divide)
        return floor_divide(a, b);
    else if constexpr (op == Opcode::remainder)
        return remainder(a, b);
    else if constexpr (op == Opcode::copysign)
        return copysign(a, b);
    else if constexpr (op == Opcode::maximum)
        return maximum(a, b);
    else if constexpr (op == Opcode::minimum)
        return minimum(a, b);
    else if constexpr (op == Opcode::bitwise_and)
        return static_cast<T>(a & b);
    else if constexpr (op == Opcode::bitwise_or)
        return static_cast<T>(a | b);
    else if constexpr (op == Opcode::bitwise_xor)
        return static_cast<T>(a ^ b);
    else if constexpr (op == Opcode::bitwise_left_shift)
        return left_shift(a, b);
    else if constexpr (op == Opcode::bitwise_right_shift)
        return right_shift(a, b);
    else if constexpr (op == Opcode::equal)
        return a == b;
    else if constexpr (op == Opcode::not_equal)
        return a != b;
    else if constexpr (op == Opcode::less)
        return a < b;
    else if constexpr (op == Opcode::less_equal)
        return a <= b;
    else
        static_assert(op == Opcode::add, "not a binary opcode");
}

/// The reduction of two elements.
template <Reduction op, class T>
TENON_INLINE T combine(T a, T b) {
    if constexpr (op == Reduction::sum)
        return binary<Opcode::add>(a, b);
    else if constexpr (op == Reduction::prod)
        return binary<Opcode::multiply>(a, b);
    else if constexpr (op == Reduction::max)
        return maximum(a, b);
    else
        return minimum(a, b);
}

/// The same for floating-point extremes, if the operands are not NaN and the result is not zero.
template <Reduction op, class T>
TENON_INLINE T quick_extreme(T a, T b) {
    if constexpr (op == Reduction::max)
        return a > b ? a : b;
    else
        return a < b ? a : b;
}
template <Reduction op, class T>
inline constexpr bool kHasQuick = kFloating<T> && (op == Reduction::max || op == Reduction::min);

}  // namespace tenon::tape::TENON_ISA
