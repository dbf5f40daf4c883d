// Elements in registers, between the loads and stores of a kernel: float16 and bfloat16 as the float that they are, so
// that an instruction is its operation and one rounding. The bits are those of apply and convert (tape.cuh).
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
/// The nearest value of the dtype.
template <DType D>
__forceinline__ Wide<D> rounded(Wide<D> x) {
    if constexpr (D == DType::bfloat16) {
        unsigned y;  // the upper half of a pair is where a float has it
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(x), "f"(0.0f));
        return from_bits(y);
    } else if constexpr (D == DType::float16) {
        return from_half(to_half(x));
    } else {
        return x;
    }
}

// Of 16-bit numbers two lie in a word. Taken apart and put together one by one they cost an instruction more each.

/// Element j of a pack, which the compiler knows.
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
/// Elements as memory holds them; `rounds` where they are float32 that become the nearest of the dtype on the way.
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

/// Operations whose results are operands, or theirs with another sign: nothing to round.
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

// Operations with a faster form, of the same bits, for usual operands. `unusual` becomes true where one is not: then
// the result is to be computed again by `exactly`.

template <Opcode op, DType D>
__forceinline__ Wide<D> usual_wide(bool& unusual, Wide<D> x) {
    if constexpr (op == Opcode::exp && std::is_same_v<Wide<D>, float>) {  // exp_normal, the exponent in one instruction
        using R = Real<float>;
        unusual |= !(::fabsf(x) < R::kExpNormal);
        const float shifted = baseline::fma(x, R::kLog2E, R::kRound), n = shifted - R::kRound;
        const float r = baseline::fma(-n, R::kLn2Low, baseline::fma(-n, R::kLn2High, x));
        return rounded<D>(from_bits(bits(R::exp_reduced(r)) + (bits(shifted) << 23)));  // kRound's bits are shifted out
    } else {
        unusual |= !is_usual<op>(x);
        return rounded<D>(usual<op>(x));
    }
}
/// Whether a / b is `usual_quotient` for all a but those that it names.
__forceinline__ bool is_usual_divisor(float b) { return abs(b) >= 1 && abs(b) <= 0x1p60f; }
/// a / b, given the nearest to 1 / b: two corrections by the exact remainder, after the first of which the quotient is
/// within a unit of its last place, which makes the second one round correctly (Markstein, IBM J. Res. Dev. 34, 1990,
/// theorem 1). Where the quotient is below 2^-60 or no number the remainder may not be exact.
template <DType D>
__forceinline__ Wide<D> usual_quotient(bool& unusual, float a, float b, float inverse) {
    float q = a * inverse;
    q = baseline::fma(baseline::fma(-b, q, a), inverse, q);
    q = baseline::fma(baseline::fma(-b, q, a), inverse, q);
    unusual |= !(::fabsf(q) >= 0x1p-60f);
    return rounded<D>(q);
}
/// The nearest bfloat16 of the nearest float32 of quotients by a usual divisor, given products with the nearest to the
/// divisor's inverse. Those are within two units of the last place of that float32, so the result is theirs but where
/// the bits that are rounded off are within two of a half: `nearest` becomes the least of how far above the first of
/// these they are, in either half of it.
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

/// What a reduction takes in, and gives.
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
