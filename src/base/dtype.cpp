#include "tenon/dtype.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

constexpr std::array<std::string_view, kDTypeCount> kNames = {
    "bool",   "int8",    "int16",    "int32",   "int64",   "uint8",     "uint16",    "uint32",
    "uint64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"};

constexpr std::uint32_t kSign = 0x80000000u;
constexpr std::uint32_t kInfinity = 0x7f800000u;

enum class Kind { boolean, integer, floating, complex };

constexpr Kind kind(DType t) {
    if (t == DType::boolean) return Kind::boolean;
    if (is_integer(t)) return Kind::integer;
    return is_floating(t) ? Kind::floating : Kind::complex;
}

[[noreturn]] void no_promotion(DType a, DType b, const char* rule) {
    throw TypeError(
        text("promote: ", name(a), " and ", name(b), " have no common dtype (", rule, "); cast one of them"));
}

DType promote_integers(DType a, DType b) {
    if (is_signed_integer(a) == is_signed_integer(b)) return std::max(a, b);
    const DType with_sign = is_signed_integer(a) ? a : b;
    const DType without = is_signed_integer(a) ? b : a;
    if (without == DType::uint64) no_promotion(a, b, "no integer type holds both ranges");
    // The smallest signed type that is as wide as the one and wider than the other.
    const auto above_unsigned =
        static_cast<DType>(static_cast<int>(without) - static_cast<int>(DType::uint8) + static_cast<int>(DType::int16));
    return std::max(with_sign, above_unsigned);
}

DType promote_floating(DType a, DType b) {
    const bool halves = std::min(a, b) == DType::float16 && std::max(a, b) == DType::bfloat16;
    return halves ? DType::float32 : std::max(a, b);
}

}  // namespace

std::string_view name(DType t) noexcept { return kNames[static_cast<std::size_t>(t)]; }

DType dtype_of(std::string_view wanted) {
    const auto* found = std::find(kNames.begin(), kNames.end(), wanted);
    if (found == kNames.end()) throw ValueError(text("dtype_of: '", wanted, "' is not the name of a dtype"));
    return static_cast<DType>(found - kNames.begin());
}

DType promote(DType a, DType b) {
    if (a == b) return a;
    const Kind ka = kind(a), kb = kind(b);
    if (ka == Kind::boolean || kb == Kind::boolean) no_promotion(a, b, "bool promotes with bool alone");
    if ((ka == Kind::integer) != (kb == Kind::integer)) no_promotion(a, b, "kinds differ");
    if (ka == Kind::integer) return promote_integers(a, b);
    if (ka == Kind::floating && kb == Kind::floating) return promote_floating(a, b);
    const bool wide = std::max(a, b) == DType::complex128 || a == DType::float64 || b == DType::float64;
    return wide ? DType::complex128 : DType::complex64;
}

float16 to_float16(float x) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const auto sign = static_cast<std::uint16_t>((bits & kSign) >> 16);
    const std::uint32_t magnitude = bits & ~kSign;
    constexpr std::uint32_t overflow = 0x477ff000u;  // 65520, halfway between the largest half and 2^16
    constexpr std::uint32_t normal = 0x38800000u;  // 2^-14, the smallest normal half
    std::uint32_t half;
    if (magnitude > kInfinity) {
        half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    } else if (magnitude >= overflow) {
        half = 0x7c00u;
    } else if (magnitude >= normal) {
        // The carry out of the fraction goes into the exponent, which is right; the bias falls from 127 to 15.
        half = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - ((127u - 15u) << 23)) >> 13;
    } else {
        // An ulp of the floats in [1/2, 1) is 2^-24, that of subnormal halves: the addition rounds where it should.
        half =
            std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
    }
    return {static_cast<std::uint16_t>(sign | half)};
}

bfloat16 to_bfloat16(float x) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    if ((bits & ~kSign) > kInfinity) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

float to_float(float16 x) noexcept {
    const std::uint32_t sign = (x.bits & 0x8000u) << 16;
    const std::uint32_t exponent = (x.bits >> 10) & 0x1fu;
    const std::uint32_t fraction = x.bits & 0x3ffu;
    if (exponent == 0) {
        const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
        return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
    }
    if (exponent == 0x1f) {
        const std::uint32_t quiet = fraction ? 0x400000u : 0u;
        return std::bit_cast<float>(sign | kInfinity | quiet | (fraction << 13));
    }
    return std::bit_cast<float>(sign | ((exponent + 127u - 15u) << 23) | (fraction << 13));
}

float to_float(bfloat16 x) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

}  // namespace tenon
