// Casts, one element at a time.
#pragma once

#include "tape/element.h"

namespace tenon::tape::TENON_ISA {

/// A float that rounds to at most 22 bits exactly as x does: inexact results end in an odd bit.
TENON_INLINE float round_to_odd(double x) {
    const float f = static_cast<float>(x);
    const double back = static_cast<double>(f);
    const std::uint32_t u = bits(f);
    const std::uint32_t odd = (abs(back) > abs(x) ? u - 1 : u) | 1u;
    return back == x || x != x ? f : from_bits(odd);
}

/// A double that rounds to at most 50 bits as the integer does: what is beyond its 53 bits leaves one sticky bit.
template <class I>
TENON_INLINE double sticky_double(I x) {
    const I magnitude = x < 0 ? static_cast<I>(-(x + 1)) : x;
    const I folded = static_cast<I>((x & ~I(0xfff)) | ((x & I(0xfff)) != 0 ? I(0x800) : I(0)));
    return static_cast<double>(magnitude >> 53 != 0 ? folded : x);
}

template <class To, class From>
TENON_INLINE To saturate(From x) {
    if constexpr (sizeof(To) < 4) {  // both bounds are exact, and vectors of 32 bits clamp in an instruction each
        constexpr From kLow = static_cast<From>(kLowest<To>), kHigh = static_cast<From>(kHighest<To>);
        const From above = x > kLow ? x : kLow, inside = above < kHigh ? above : kHigh;
        return static_cast<To>(static_cast<std::int32_t>(kLow == 0 || x == x ? inside : From(0)));
    }
    // Powers of two, so that both bounds are exact: 2^bits, and the lowest value.
    constexpr From kAbove = static_cast<From>(kHighest<To> / 2 + 1) * 2;
    constexpr From kBelow = static_cast<From>(kLowest<To>);
    const From inside = x > kBelow && x < kAbove ? x : From(0);
    const To y = static_cast<To>(inside);
    return x >= kAbove ? kHighest<To> : x <= kBelow ? kLowest<To> : y;
}

template <DType From, DType To>
TENON_INLINE Stored<To> convert(Stored<From> stored) {
    using A = Value<From>;
    using B = Value<To>;
    constexpr bool kHalf = To == DType::float16 || To == DType::bfloat16;
    const A x = Element<From>::load(stored);
    if constexpr (From == To)
        return stored;
    else if constexpr (To == DType::boolean)
        return x != 0;
    else if constexpr (kFloating<A> && !kFloating<B>)
        return saturate<B>(x);
    else if constexpr (kHalf && std::is_same_v<A, double>)
        return Element<To>::store(round_to_odd(x));
    else if constexpr (kHalf && !kFloating<A> && sizeof(A) == 8)
        return Element<To>::store(round_to_odd(sticky_double(x)));
    else if constexpr (kHalf && !kFloating<A> && sizeof(A) == 4)
        return Element<To>::store(round_to_odd(static_cast<double>(x)));
    else
        return Element<To>::store(static_cast<B>(x));
}

}  // namespace tenon::tape::TENON_ISA
