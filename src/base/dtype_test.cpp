// Dtypes: names, promotion against the Array API's tables, and the 16-bit floats: every half both ways, every boundary
// between neighbours, infinities, NaN.
#include "tenon/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tenon/error.h"

namespace tenon {
namespace {

DType dt(int i) { return static_cast<DType>(i); }

TEST(DType, NamesRoundTrip) {
    EXPECT_EQ(name(DType::boolean), "bool");
    EXPECT_EQ(name(DType::bfloat16), "bfloat16");
    EXPECT_EQ(name(DType::uint64), "uint64");
    for (int i = 0; i < kDTypeCount; ++i) EXPECT_EQ(dtype_of(name(dt(i))), dt(i));
    EXPECT_THROW(dtype_of("float"), ValueError);
    EXPECT_THROW(dtype_of(""), ValueError);
}

TEST(DType, SizesMatchTheTypes) {
    EXPECT_EQ(size_of(dtype_for<bool>), sizeof(bool));
    EXPECT_EQ(size_of(dtype_for<std::int64_t>), 8u);
    EXPECT_EQ(size_of(dtype_for<float16>), sizeof(float16));
    EXPECT_EQ(size_of(dtype_for<bfloat16>), sizeof(bfloat16));
    EXPECT_EQ(size_of(dtype_for<double>), sizeof(double));
    EXPECT_EQ(size_of(DType::complex128), 16u);
}

// The tables of the standard, "Type Promotion Rules", one row a left operand.
TEST(Promotion, IntegerTables) {
    const DType i1 = DType::int8, i2 = DType::int16, i4 = DType::int32, i8 = DType::int64;
    const DType u1 = DType::uint8, u2 = DType::uint16, u4 = DType::uint32, u8 = DType::uint64;
    const DType same_sign[4] = {i1, i2, i4, i8}, no_sign[4] = {u1, u2, u4, u8};
    for (int a = 0; a < 4; ++a)
        for (int b = 0; b < 4; ++b) {
            EXPECT_EQ(promote(same_sign[a], same_sign[b]), same_sign[std::max(a, b)]);
            EXPECT_EQ(promote(no_sign[a], no_sign[b]), no_sign[std::max(a, b)]);
        }
    const DType mixed[4][3] = {{i2, i4, i8}, {i2, i4, i8}, {i4, i4, i8}, {i8, i8, i8}};
    for (int s = 0; s < 4; ++s) {
        for (int u = 0; u < 3; ++u) {
            EXPECT_EQ(promote(same_sign[s], no_sign[u]), mixed[s][u]);
            EXPECT_EQ(promote(no_sign[u], same_sign[s]), mixed[s][u]);
        }
        EXPECT_THROW(promote(same_sign[s], u8), TypeError);
        EXPECT_THROW(promote(u8, same_sign[s]), TypeError);
    }
}

TEST(Promotion, Floating) {
    EXPECT_EQ(promote(DType::float16, DType::float32), DType::float32);
    EXPECT_EQ(promote(DType::float64, DType::float32), DType::float64);
    EXPECT_EQ(promote(DType::bfloat16, DType::float32), DType::float32);
    EXPECT_EQ(promote(DType::bfloat16, DType::float64), DType::float64);
    EXPECT_EQ(promote(DType::float16, DType::bfloat16), DType::float32);
    EXPECT_EQ(promote(DType::bfloat16, DType::float16), DType::float32);
    EXPECT_EQ(promote(DType::bfloat16, DType::bfloat16), DType::bfloat16);
    EXPECT_EQ(promote(DType::float32, DType::complex64), DType::complex64);
    EXPECT_EQ(promote(DType::complex64, DType::float64), DType::complex128);
    EXPECT_EQ(promote(DType::complex128, DType::float32), DType::complex128);
}

TEST(Promotion, MixedKindsHaveNone) {
    for (int i = 0; i < kDTypeCount; ++i) {
        EXPECT_EQ(promote(dt(i), dt(i)), dt(i));
        if (dt(i) != DType::boolean) {
            EXPECT_THROW(promote(DType::boolean, dt(i)), TypeError);
            EXPECT_THROW(promote(dt(i), DType::boolean), TypeError);
        }
        if (!is_integer(dt(i))) {
            EXPECT_THROW(promote(DType::int32, dt(i)), TypeError);
            EXPECT_THROW(promote(dt(i), DType::uint8), TypeError);
        }
    }
}

TEST(Promotion, IsALatticeJoin) {  // commutative, associative where both sides are defined, idempotent
    const auto join = [](DType a, DType b, DType& out) {
        try {
            out = promote(a, b);
            return true;
        } catch (const TypeError&) {
            return false;
        }
    };
    for (int a = 0; a < kDTypeCount; ++a)
        for (int b = 0; b < kDTypeCount; ++b)
            for (int c = 0; c < kDTypeCount; ++c) {
                DType ab, bc, left, right;
                if (!join(dt(a), dt(b), ab) || !join(dt(b), dt(c), bc)) continue;
                EXPECT_EQ(ab, promote(dt(b), dt(a)));
                if (join(ab, dt(c), left) && join(dt(a), bc, right)) {
                    EXPECT_EQ(left, right) << name(dt(a)) << ' ' << name(dt(b)) << ' ' << name(dt(c));
                }
            }
}

// The value a finite half stands for, from the format's definition.
double half_value(std::uint16_t bits) {
    const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const double magnitude = exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
    return bits & 0x8000 ? -magnitude : magnitude;
}

bool half_is_nan(unsigned bits) { return (bits & 0x7fff) > 0x7c00; }

TEST(Float16, EveryHalfWidensExactly) {
    for (unsigned b = 0; b < 65536; ++b) {
        const float f = to_float(float16{static_cast<std::uint16_t>(b)});
        if (half_is_nan(b)) {
            EXPECT_TRUE(std::isnan(f));
        } else if ((b & 0x7fff) == 0x7c00) {
            EXPECT_EQ(f, b & 0x8000 ? -INFINITY : INFINITY);
        } else {
            ASSERT_EQ(static_cast<double>(f), half_value(static_cast<std::uint16_t>(b)));
        }
        ASSERT_EQ(std::signbit(f), (b & 0x8000) != 0);
    }
}

TEST(Float16, EveryHalfComesBack) {
    for (unsigned b = 0; b < 65536; ++b) {
        const auto h = to_float16(to_float(float16{static_cast<std::uint16_t>(b)}));
        ASSERT_EQ(h.bits, half_is_nan(b) ? (b | 0x200) : b);
    }
}

// Between neighbours: just below the middle rounds down, the middle to the even one, just above rounds up.
TEST(Float16, EveryBoundaryRoundsToNearestEven) {
    for (unsigned b = 0; b < 0x7c00; ++b) {
        const auto low = static_cast<std::uint16_t>(b), high = static_cast<std::uint16_t>(b + 1);
        const double above = high == 0x7c00 ? 65536.0 : half_value(high);
        const auto middle = static_cast<float>((half_value(low) + above) / 2);  // exact: one bit more than a half
        const std::uint16_t even = b % 2 ? high : low;
        ASSERT_EQ(to_float16(middle).bits, even);
        ASSERT_EQ(to_float16(std::nextafter(middle, 0.0f)).bits, low);
        ASSERT_EQ(to_float16(std::nextafter(middle, INFINITY)).bits, high);
        ASSERT_EQ(to_float16(-middle).bits, even | 0x8000);
        ASSERT_EQ(to_float16(-std::nextafter(middle, 0.0f)).bits, low | 0x8000);
    }
}

TEST(Float16, Extremes) {
    EXPECT_EQ(to_float16(INFINITY).bits, 0x7c00);
    EXPECT_EQ(to_float16(-INFINITY).bits, 0xfc00);
    EXPECT_EQ(to_float16(std::numeric_limits<float>::max()).bits, 0x7c00);
    EXPECT_EQ(to_float16(std::numeric_limits<float>::denorm_min()).bits, 0);
    EXPECT_EQ(to_float16(-std::numeric_limits<float>::denorm_min()).bits, 0x8000);
    EXPECT_EQ(to_float16(-0.0f).bits, 0x8000);
    // A NaN whose payload lies in the lost bits must not become an infinity.
    const auto nan = to_float16(std::bit_cast<float>(0x7f800001u));
    EXPECT_TRUE(half_is_nan(nan.bits));
    EXPECT_TRUE(nan.bits & 0x200);
}

TEST(BFloat16, EveryValueBothWays) {
    for (unsigned b = 0; b < 65536; ++b) {
        const float f = to_float(bfloat16{static_cast<std::uint16_t>(b)});
        ASSERT_EQ(std::bit_cast<std::uint32_t>(f) >> 16, b);
        const bool nan = (b & 0x7fff) > 0x7f80;
        ASSERT_EQ(to_bfloat16(f).bits, nan ? (b | 0x40) : b);
    }
}

TEST(BFloat16, EveryBoundaryRoundsToNearestEven) {
    for (std::uint32_t b = 0; b < 0x7f80; ++b)
        for (const std::uint32_t sign : {0u, 0x8000u}) {
            const std::uint32_t middle = ((b | sign) << 16) | 0x8000u;
            const std::uint32_t up = (b + 1) | sign;
            ASSERT_EQ(to_bfloat16(std::bit_cast<float>(middle)).bits, b % 2 ? up : (b | sign));
            ASSERT_EQ(to_bfloat16(std::bit_cast<float>(middle - 1)).bits, b | sign);
            ASSERT_EQ(to_bfloat16(std::bit_cast<float>(middle + 1)).bits, up);
        }
}

TEST(BFloat16, NanStaysNanAndOverflowIsInfinite) {
    EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0x7f800001u)).bits, 0x7fc0);
    EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0xffffffffu)).bits, 0xffff);
    EXPECT_EQ(to_bfloat16(std::numeric_limits<float>::max()).bits, 0x7f80);
    EXPECT_EQ(to_bfloat16(-INFINITY).bits, 0xff80);
}

}  // namespace
}  // namespace tenon
