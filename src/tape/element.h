// Elements as kernels see them: how each dtype is stored, the type it is computed in, and conversions between the two.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tape/math.h"
#include "tenon/dtype.h"

// The iterations of an elementwise loop are independent, even if the result replaces an operand.
#ifdef __clang__
#define TENON_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define TENON_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace tenon::tape::TENON_ISA {

TENON_INLINE float from_brain(std::uint16_t h) { return from_bits(static_cast<std::uint32_t>(h) << 16); }

#ifdef __CUDACC_RTC__
// The hardware's conversions, which round in the same way; only the payload of a NaN differs.
TENON_INLINE float from_half(std::uint16_t h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
TENON_INLINE std::uint16_t to_half(float x) {
    std::uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
TENON_INLINE std::uint16_t to_brain(float x) {
    std::uint16_t h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
#else
TENON_INLINE float from_half(std::uint16_t h) {
    const std::uint32_t exponent_mantissa = static_cast<std::uint32_t>(h & 0x7fffu) << 13;
    const std::uint32_t exponent = exponent_mantissa & 0x0f800000u;
    const std::uint32_t normal = exponent_mantissa + (112u << 23);
    const std::uint32_t special = exponent_mantissa + (224u << 23);
    // A subnormal's bits are multiples of 2^-24: they are put below the exponent of 2^-14, which is then subtracted.
    const std::uint32_t subnormal = bits(from_bits(exponent_mantissa + (113u << 23)) - 0x1p-14f);
    const std::uint32_t u = exponent == 0x0f800000u ? special : exponent == 0 ? subnormal : normal;
    return from_bits(u | static_cast<std::uint32_t>(h & 0x8000u) << 16);
}

TENON_INLINE std::uint16_t to_half(float x) {
    const std::uint32_t u = bits(x) & 0x7fffffffu;
    const std::uint32_t sign = bits(x) >> 16 & 0x8000u;
    const std::uint32_t normal = (u + 0xfffu + (u >> 13 & 1u) - (112u << 23)) >> 13;
    const std::uint32_t subnormal = bits(from_bits(u) + 0.5f) - bits(0.5f);  // the sum rounds to multiples of 2^-24
    std::uint32_t h = u < (113u << 23) ? subnormal : normal;
    h = u >= 0x477ff000u ? 0x7c00u : h;  // 65520 and above
    h = u > 0x7f800000u ? 0x7e00u : h;
    return static_cast<std::uint16_t>(h | sign);
}

TENON_INLINE std::uint16_t to_brain(float x) {
    const std::uint32_t u = bits(x);
    const std::uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    const std::uint32_t nan = u >> 16 | 0x40u;
    return static_cast<std::uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}
#endif

/// Stored is the type in memory, Value the type of computation.
template <DType D>
struct Element;

template <class T>
struct Plain {
    using Stored = T;
    using Value = T;
    TENON_INLINE static T load(T x) { return x; }
    TENON_INLINE static T store(T x) { return x; }
};
template <>
struct Element<DType::int8> : Plain<std::int8_t> {};
template <>
struct Element<DType::int16> : Plain<std::int16_t> {};
template <>
struct Element<DType::int32> : Plain<std::int32_t> {};
template <>
struct Element<DType::int64> : Plain<std::int64_t> {};
template <>
struct Element<DType::uint8> : Plain<std::uint8_t> {};
template <>
struct Element<DType::uint16> : Plain<std::uint16_t> {};
template <>
struct Element<DType::uint32> : Plain<std::uint32_t> {};
template <>
struct Element<DType::uint64> : Plain<std::uint64_t> {};
template <>
struct Element<DType::float32> : Plain<float> {};
template <>
struct Element<DType::float64> : Plain<double> {};

template <>
struct Element<DType::boolean> {
    using Stored = std::uint8_t;
    using Value = bool;
    TENON_INLINE static bool load(std::uint8_t x) { return x != 0; }
    TENON_INLINE static std::uint8_t store(bool x) { return x; }
};
template <>
struct Element<DType::float16> {
    using Stored = std::uint16_t;
    using Value = float;
    TENON_INLINE static float load(std::uint16_t x) { return from_half(x); }
    TENON_INLINE static std::uint16_t store(float x) { return to_half(x); }
};
template <>
struct Element<DType::bfloat16> {
    using Stored = std::uint16_t;
    using Value = float;
    TENON_INLINE static float load(std::uint16_t x) { return from_brain(x); }
    TENON_INLINE static std::uint16_t store(float x) { return to_brain(x); }
};

template <DType D>
using Stored = typename Element<D>::Stored;
template <DType D>
using Value = typename Element<D>::Value;

/// The dtypes that the letters in TENON_OPCODES stand for.
template <DType... D>
struct Types {};
using TypesB = Types<DType::boolean>;
using TypesI = Types<DType::int8, DType::int16, DType::int32, DType::int64, DType::uint8, DType::uint16, DType::uint32,
                     DType::uint64>;
using TypesF = Types<DType::float16, DType::bfloat16, DType::float32, DType::float64>;
template <DType... A, DType... B>
constexpr Types<A..., B...> operator+(Types<A...>, Types<B...>) {
    return {};
}
using TypesN = decltype(TypesF{} + TypesI{});
using TypesJ = decltype(TypesI{} + TypesB{});
using TypesA = decltype(TypesN{} + TypesB{});

/// Arithmetic modulo 2^bits uses an unsigned type no narrower than int.
template <class T>
using Unsigned = std::conditional_t<(sizeof(T) < 4), std::uint32_t, std::make_unsigned_t<T>>;
template <class T>
inline constexpr bool kFloating = std::is_floating_point_v<T>;
template <class T>
inline constexpr T kHighest = static_cast<T>(std::is_signed_v<T> ? static_cast<std::make_unsigned_t<T>>(-1) >> 1
                                                                 : static_cast<std::make_unsigned_t<T>>(-1));
template <class T>
inline constexpr T kLowest = static_cast<T>(std::is_signed_v<T> ? -kHighest<T> - 1 : 0);

}  // namespace tenon::tape::TENON_ISA
