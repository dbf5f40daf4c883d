// Elements in registers. Between a kernel's loads and stores, float16 and bfloat16 are held as the float of equal
// value, so that an instruction of the tape is one float operation and one rounding. The bits are those of apply and
// convert (tape.cuh).
#pragma once

#include "cuda/tape.cuh"

namespace tenon::cuda {

template <DType D>
inline constexpr bool kHalfWidth = D == DType::float16 || D == DType::bfloat16;
template <DType D>
using Wide = std::conditional_t<kHalfWidth<D>, float, Stored<D>>;

template <DType D>
__forceinline__ Wide<D> widen(Stored<D> x) {
    if constexpr (kHalfWidth<D>)
        return Element<D>::load(x);
    else
        return x;
}
template <DType D>
__forceinline__ Stored<D> narrow(Wide<D> x) {
    if constexpr (D == DType::bfloat16)
        return static_cast<Stored<D>>(bits(x) >> 16);
    else if constexpr (kHalfWidth<D>)
        return Element<D>::store(x);
    else
        return x;
}
/// The nearest value of the dtype, as a Wide.
template <DType D>
__forceinline__ Wide<D> rounded(Wide<D> x) {
    if constexpr (D == DType::bfloat16) {
        unsigned y;  // The upper half of the pair, above a zero, is the bfloat16's float.
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(x), "f"(0.0f));
        return from_bits(y);
    } else if constexpr (D == DType::float16) {
        return from_half(to_half(x));
    } else {
        return x;
    }
}

// Two 16-bit elements share a 32-bit word. Unpacking and packing whole words saves an instruction for each element.

/// Element j of a pack; j is known at compile time.
template <DType D, int n>
__forceinline__ Wide<D> widen_at(const Pack<Stored<D>, n>& pack, int j) {
    if constexpr (D == DType::bfloat16 && n % 2 == 0) {
        const auto words = __builtin_bit_cast(Pack<unsigned, n / 2>, pack);
        const unsigned word = words.at[j / 2];
        return from_bits(j % 2 == 0 ? word << 16 : word & 0xffff0000u);
    } else {
        return widen<D>(pack.at[j]);
    }
}
/// Converts elements to the dtype as it is stored. With `rounds` the elements are any float32 and are rounded; without
/// it they are values of the dtype already.
template <DType D, bool rounds, int n, int groups>
__forceinline__ void narrow_all(Pack<Stored<D>, n> (&to)[groups], const Wide<D> (&x)[n * groups]) {
#pragma unroll
    for (int g = 0; g < groups; ++g) {
        if constexpr (D == DType::bfloat16 && n % 2 == 0) {
            Pack<unsigned, n / 2> words;
#pragma unroll
            for (int i = 0; i < n / 2; ++i) {
                const float low = x[g * n + 2 * i], high = x[g * n + 2 * i + 1];
                if constexpr (rounds)
                    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(words.at[i]) : "f"(high), "f"(low));
                else
                    words.at[i] = __byte_perm(bits(low), bits(high), 0x7632);
            }
            to[g] = __builtin_bit_cast(Pack<Stored<D>, n>, words);
        } else {
#pragma unroll
            for (int i = 0; i < n; ++i) {
                if constexpr (rounds)
                    to[g].at[i] = narrow<D>(rounded<D>(x[g * n + i]));
                else
                    to[g].at[i] = narrow<D>(x[g * n + i]);
            }
        }
    }
}

/// Operations whose result is one of the operands, possibly with another sign, so that nothing needs rounding.
constexpr bool is_exact(Opcode op) {
    return op == Opcode::negative || op == Opcode::abs || op == Opcode::copysign || op == Opcode::maximum ||
           op == Opcode::minimum;
}

template <Opcode op, DType D, class... T>
__forceinline__ auto apply_wide(T... x) {
    if constexpr (!kHalfWidth<D>) {
        return apply<op, D>(x...);
    } else if constexpr (op == Opcode::nextafter) {
        return widen<D>(apply<op, D>(narrow<D>(x)...));
    } else if constexpr (op == Opcode::sin) {
        return rounded<D>(baseline::sin(x...));
    } else if constexpr (op == Opcode::cos) {
        return rounded<D>(baseline::cos(x...));
    } else {
        const auto y = [&] {
            if constexpr (sizeof...(T) == 1)
                return unary<op>(x...);
            else
                return binary<op>(x...);
        }();
        if constexpr (std::is_same_v<decltype(y), const bool>)
            return Element<DType::boolean>::store(y);
        else if constexpr (is_exact(op))
            return y;
        else
            return rounded<D>(y);
    }
}
template <DType D>
__forceinline__ Wide<D> select_wide(unsigned char condition, Wide<D> a, Wide<D> b) {
    return condition != 0 ? a : b;
}
template <DType D>
__forceinline__ Wide<D> fused_wide(Wide<D> a, Wide<D> b, Wide<D> c) {
    if constexpr (kHalfWidth<D>)
        return rounded<D>(baseline::fma(a, b, c));
    else
        return fused<D>(a, b, c);
}
template <DType From, DType To>
__forceinline__ Wide<To> convert_wide(Wide<From> x) {
    constexpr bool kNarrowing = kHalfWidth<To> && (kHalfWidth<From> || From == DType::float32);
    if constexpr (From == To || (kHalfWidth<From> && To == DType::float32))
        return x;
    else if constexpr (kNarrowing)
        return rounded<To>(x);
    else
        return widen<To>(convert<From, To>(narrow<From>(x)));
}

// Operations that have a faster form, with the same bits, for usual operands. `unusual` becomes true where an operand
// is not usual, and the caller then computes the result again by `exactly`.

template <Opcode op, DType D>
__forceinline__ Wide<D> usual_wide(bool& unusual, Wide<D> x) {
    unusual |= !is_usual<op>(x);
    return rounded<D>(usual<op>(x));
}
/// Whether `usual_quotient` gives a / b for every a that it does not report as unusual.
__forceinline__ bool is_usual_divisor(float b) { return abs(b) >= 1 && abs(b) <= 0x1p60f; }
/// a / b, given `inverse`, the float nearest to 1 / b. The product is corrected twice by the exact remainder. After the
/// first correction the quotient is within one unit in the last place, so the second one rounds correctly (Markstein,
/// IBM J. Res. Dev. 34, 1990, theorem 1). Where the quotient's magnitude is below 2^-60, or it is NaN, the remainder
/// may not be exact, and the quotient is unusual.
template <DType D>
__forceinline__ Wide<D> usual_quotient(bool& unusual, float a, float b, float inverse) {
    float q = a * inverse;
    q = baseline::fma(baseline::fma(-b, q, a), inverse, q);
    q = baseline::fma(baseline::fma(-b, q, a), inverse, q);
    unusual |= !(::fabsf(q) >= 0x1p-60f);
    return rounded<D>(q);
}
/// Quotients by a usual divisor, rounded to float32 and then to bfloat16, computed from `q`, the products with the
/// float nearest to the divisor's inverse. A product is within two units in the last place of the float32 quotient. So
/// it rounds to the same bfloat16, unless the 16 bits that are rounded off are within 2 of a half (0x7ffe to 0x8002).
/// Each half of `nearest` becomes the minimum, over its elements, of those bits minus 0x7ffe, modulo 2^16; is_near_half
/// tells whether any element was that close.
template <int n, int groups>
__forceinline__ void narrow_quotients(Pack<Stored<DType::bfloat16>, n> (&to)[groups], unsigned& nearest,
                                      const float (&q)[n * groups]) {
    narrow_all<DType::bfloat16, true>(to, q);
    static_assert(n * groups % 2 == 0);
#pragma unroll
    for (int i = 0; i < n * groups; i += 2)
        nearest = __viaddmin_u16x2(__byte_perm(bits(q[i]), bits(q[i + 1]), 0x5410), 0x80028002u, nearest);
}
__forceinline__ bool is_near_half(unsigned nearest) { return (nearest & 0xffff) <= 4 || nearest >> 16 <= 4; }
template <Opcode op, DType D, class... T>
__noinline__ Wide<D> exactly(T... x) {
    return apply_wide<op, D>(x...);
}
/// a / b for any operands, given `inverse` where `unusual`, of the divisor, is false.
template <DType D>
__forceinline__ Wide<D> any_quotient(bool unusual, float a, float b, float inverse) {
    const Wide<D> q = usual_quotient<D>(unusual, a, b, inverse);
    return unusual ? exactly<Opcode::divide, D>(a, b) : q;
}

/// An element as the operand of a reduction, and a reduction's result as an element.
template <DType D>
__forceinline__ Accumulator<D> accumulable(Wide<D> x) {
    if constexpr (kHalfWidth<D>)
        return x;
    else
        return baseline::load<D>(x);
}
template <DType D>
__forceinline__ Wide<D> reduced(Accumulator<D> a) {
    if constexpr (kHalfWidth<D>)
        return rounded<D>(a);
    else
        return baseline::store<D>(a);
}

}  // namespace tenon::cuda
