// Element types, their names and their promotion (Python Array API standard, "Type Promotion Rules").
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tenon/export.h"

namespace tenon {

/// complex64 and complex128 have their place reserved; no operation takes them yet.
enum class DType : std::uint8_t {
    boolean,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    float16,
    bfloat16,
    float32,
    float64,
    complex64,
    complex128,
};

/// How many DTypes there are.
inline constexpr int kDTypeCount = 15;

/// IEEE 754 binary16, as stored. Arithmetic happens in float32.
struct float16 {
    std::uint16_t bits;
    friend bool operator==(float16, float16) = default;
};

/// The upper half of a float32, as stored. Arithmetic happens in float32.
struct bfloat16 {
    std::uint16_t bits;
    friend bool operator==(bfloat16, bfloat16) = default;
};

/// Round to nearest, ties to even; NaN stays NaN (quiet), overflow is infinite.
TENON_API float16 to_float16(float x) noexcept;
TENON_API bfloat16 to_bfloat16(float x) noexcept;
/// Exact.
TENON_API float to_float(float16 x) noexcept;
TENON_API float to_float(bfloat16 x) noexcept;

/// Bytes of one element.
constexpr std::size_t size_of(DType t) {
    constexpr std::uint8_t bytes[kDTypeCount] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16};
    return bytes[static_cast<int>(t)];
}

/// boolean is of none of these kinds.
constexpr bool is_signed_integer(DType t) { return t >= DType::int8 && t <= DType::int64; }
constexpr bool is_unsigned_integer(DType t) { return t >= DType::uint8 && t <= DType::uint64; }
constexpr bool is_integer(DType t) { return t >= DType::int8 && t <= DType::uint64; }
constexpr bool is_floating(DType t) { return t >= DType::float16 && t <= DType::float64; }

/// The Array API name: "float32", "bool", ...
TENON_API std::string_view name(DType t) noexcept;
/// The inverse of `name`. Throws ValueError for any other text.
TENON_API DType dtype_of(std::string_view name);

/// The dtype of an operation on `a` and `b`. float16 with bfloat16 gives float32. Mixed kinds (integer with floating,
/// bool with anything) and uint64 with a signed integer have no promotion in the standard: throws TypeError.
TENON_API DType promote(DType a, DType b);

/// The DType of a C++ type: `dtype_for<float> == DType::float32`.
template <class T>
struct DTypeFor;
template <>
struct DTypeFor<bool> {
    static constexpr DType value = DType::boolean;
};
template <>
struct DTypeFor<std::int8_t> {
    static constexpr DType value = DType::int8;
};
template <>
struct DTypeFor<std::int16_t> {
    static constexpr DType value = DType::int16;
};
template <>
struct DTypeFor<std::int32_t> {
    static constexpr DType value = DType::int32;
};
template <>
struct DTypeFor<std::int64_t> {
    static constexpr DType value = DType::int64;
};
template <>
struct DTypeFor<std::uint8_t> {
    static constexpr DType value = DType::uint8;
};
template <>
struct DTypeFor<std::uint16_t> {
    static constexpr DType value = DType::uint16;
};
template <>
struct DTypeFor<std::uint32_t> {
    static constexpr DType value = DType::uint32;
};
template <>
struct DTypeFor<std::uint64_t> {
    static constexpr DType value = DType::uint64;
};
template <>
struct DTypeFor<float16> {
    static constexpr DType value = DType::float16;
};
template <>
struct DTypeFor<bfloat16> {
    static constexpr DType value = DType::bfloat16;
};
template <>
struct DTypeFor<float> {
    static constexpr DType value = DType::float32;
};
template <>
struct DTypeFor<double> {
    static constexpr DType value = DType::float64;
};

template <class T>
inline constexpr DType dtype_for = DTypeFor<T>::value;

}  // namespace tenon
