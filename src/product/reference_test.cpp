// The order law: against long double sums, spelt-out small cases, the hardware bfloat16 dot product, and bad calls.
#include <gtest/gtest.h>

#include <cmath>

#include "base/text.h"
#include "product/float_environment.h"
#include "product/flush.h"
#include "product/testing.h"
#include "tenon/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;
using testing::Storage;

const Equation kMatmul("mk,kn->mn");

double unit_roundoff(DType t) { return t == DType::float64 ? 0x1p-53 : 0x1p-24; }
double output_roundoff(DType t) { return t == DType::float16 ? 0x1p-11 : t == DType::bfloat16 ? 0x1p-8 : 0; }

class ReferenceError : public ::testing::TestWithParam<DType> {};

TEST_P(ReferenceError, StaysWithinTheBoundOfOneRoundingATerm) {
    const DType t = GetParam();
    for (const std::int64_t k : {0, 1, 2, 7, 383, 384, 385, 769, 6143, 6144, 6145, 20000}) {
        constexpr std::int64_t m = 3, n = 2;
        Array a(t, {m, k}), b(t, {k, n}), out(t, {m, n});
        a.randomize(1), b.randomize(2);
        contract_reference(a.view(), b.view(), out.view(), kMatmul.labels());
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                long double sum = 0, magnitude = 0;
                for (std::int64_t q = 0; q < k; ++q) {
                    const long double term = static_cast<long double>(a.get(i * k + q)) * b.get(q * n + j);
                    sum += term, magnitude += std::fabs(term);
                }
                const double u = unit_roundoff(t), exact = static_cast<double>(sum);
                const double bound = static_cast<double>(k + 2) * u * static_cast<double>(magnitude);
                EXPECT_LE(std::fabs(out.get(i * n + j) - exact),
                          bound + output_roundoff(t) * (std::fabs(exact) + bound))
                    << name(t) << " k " << k;
            }
    }
}

INSTANTIATE_TEST_SUITE_P(Floating, ReferenceError,
                         ::testing::Values(DType::float16, DType::bfloat16, DType::float32, DType::float64));

float dot(const std::vector<float>& a, const std::vector<float>& b) {
    const auto k = static_cast<std::int64_t>(a.size());
    Array x(DType::float32, {1, k}), y(DType::float32, {k, 1}), out(DType::float32, {1, 1});
    for (std::int64_t i = 0; i < k; ++i)
        x.set(i, a[static_cast<std::size_t>(i)]), y.set(i, b[static_cast<std::size_t>(i)]);
    contract_reference(x.view(), y.view(), out.view(), kMatmul.labels());
    return static_cast<float>(out.get(0));
}

TEST(Reference, FusesAndStartsAtPlusZero) {
    EXPECT_EQ(dot({1 + 0x1p-23f, -1}, {1 - 0x1p-23f, 1}), std::fmaf(-1, 1, std::fmaf(1 + 0x1p-23f, 1 - 0x1p-23f, 0)));
    EXPECT_FALSE(std::signbit(dot({-1}, {0})));  // +0 + -0
    EXPECT_TRUE(std::signbit(dot({-0x1p-100f}, {0x1p-100f})));  // rounds to -0, and nothing is added to it
    EXPECT_EQ(dot({}, {}), 0);
}

TEST(Reference, AddsBlocksInOrderAndSegmentsInATree) {
    // Ones everywhere but in the first element of some blocks, so that the order of the additions shows.
    for (const std::int64_t k : {2 * kBlockK + 5, 3 * kSplitK, 5 * kSplitK + kBlockK + 1, 7 * kSplitK}) {
        std::vector<float> a(static_cast<std::size_t>(k)), b(a.size());
        std::mt19937 random(5);
        for (auto* v : {&a, &b})
            for (float& x : *v) x = static_cast<float>(random()) * 0x1p-32f - 0.5f;
        std::vector<float> segments;
        for (std::int64_t s = 0; s < k; s += kSplitK) {
            for (std::int64_t block = s; block < std::min(k, s + kSplitK); block += kBlockK) {
                float sum = 0;
                for (std::int64_t q = block; q < std::min({k, s + kSplitK, block + kBlockK}); ++q)
                    sum = std::fmaf(a[static_cast<std::size_t>(q)], b[static_cast<std::size_t>(q)], sum);
                if (block == s)
                    segments.push_back(sum);
                else
                    segments.back() += sum;
            }
        }
        for (std::size_t d = 1; d < segments.size(); d *= 2)
            for (std::size_t i = 0; i + d < segments.size(); i += 2 * d) segments[i] += segments[i + d];
        EXPECT_EQ(dot(a, b), segments[0]) << k;
    }
}

TEST(Reference, SumsInTheOrderOfTheFirstOperandsAxes) {
    const std::int64_t p = 5, q = 7;
    Array a(DType::float32, {p, q}), b(DType::float32, {q, p}), out(DType::float32, {});
    a.randomize(3), b.randomize(4);
    contract_reference(a.view(), b.view(), out.view(), Equation("pq,qp->").labels());
    std::vector<float> x, y;
    for (std::int64_t i = 0; i < p; ++i)
        for (std::int64_t j = 0; j < q; ++j)
            x.push_back(static_cast<float>(a.get(i * q + j))), y.push_back(static_cast<float>(b.get(j * p + i)));
    EXPECT_EQ(static_cast<float>(out.get(0)), dot(x, y));
}

TEST(Reference, IntegersAreExactModuloTheirWidth) {
    Array a(DType::int8, {1, 300}), b(DType::int8, {300, 1}), narrow(DType::int8, {1, 1}), wide(DType::int32, {1, 1});
    for (std::int64_t i = 0; i < 300; ++i) a.set(i, -128), b.set(i, 127);
    contract_reference(a.view(), b.view(), narrow.view(), kMatmul.labels());
    contract_reference(a.view(), b.view(), wide.view(), kMatmul.labels());
    EXPECT_EQ(wide.get(0), -128.0 * 127 * 300);
    EXPECT_EQ(narrow.get(0), static_cast<std::int8_t>(-128 * 127 * 300));
}

TEST(Reference, KeepsTheCallersFloatingPointEnvironment) {
    const FloatEnvironment flushing(Subnormals::flush);
    EXPECT_EQ(dot({0x1p-100f, 0x1p-100f}, {0x1p-40f, 0x1p-40f}), 0x1p-139f);  // subnormal, and kept
#if defined(__x86_64__)
    EXPECT_EQ(_mm_getcsr() & 0x8040u, 0x8040u);
#endif
}

#if defined(__x86_64__)
[[gnu::target("avx512f,avx512bf16")]] float hardware_pair(const std::uint16_t (&a)[2], const std::uint16_t (&b)[2],
                                                          float c) {
    const __m512i x = _mm512_set1_epi32(static_cast<int>(a[0] | std::uint32_t{a[1]} << 16));
    const __m512i y = _mm512_set1_epi32(static_cast<int>(b[0] | std::uint32_t{b[1]} << 16));
    const __m512 sum =
        _mm512_dpbf16_ps(_mm512_set1_ps(c), reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(y));
    return _mm512_cvtss_f32(sum);
}

/// Pairs whose sums fall around 2^-126, where rounding and flushing meet, and pairs of any bits.
TEST(Reference, FlushesAsTheHardwareDotProductDoes) {
    if (!__builtin_cpu_supports("avx512bf16")) GTEST_SKIP() << "no AVX-512 BF16 here";
    std::mt19937_64 random(1);
    std::int64_t at_boundary = 0;
    for (int i = 0; i < 2'000'000; ++i) {
        const std::uint64_t r = random(), s = random();
        std::uint16_t a[2] = {static_cast<std::uint16_t>(r), static_cast<std::uint16_t>(r >> 16)};
        std::uint16_t b[2] = {static_cast<std::uint16_t>(r >> 32), static_cast<std::uint16_t>(r >> 48)};
        auto c = std::bit_cast<float>(static_cast<std::uint32_t>(s));
        if (i % 2 == 0) {  // c = +-2^-126 (1 + few ulp), plus a product of the other sign from 2^-127 down to 2^-155
            const std::uint32_t sign = s & 1 ? 0x80000000u : 0u;
            c = std::bit_cast<float>(sign | (0x00800000u + static_cast<std::uint32_t>(s >> 8 & 1)));
            a[1] = 0;
            a[0] = static_cast<std::uint16_t>((a[0] & 0x7f) | 64 << 7);
            b[0] = static_cast<std::uint16_t>((b[0] & 0x7f) | (63 - s % 63) << 7 | (s & 1 ? 0 : 0x8000));
        }
        const auto widen = [](std::uint16_t x) { return flush(std::bit_cast<float>(std::uint32_t{x} << 16)); };
        const float expected = hardware_pair(a, b, c);
        const float odd = flush_fma(widen(a[1]), widen(b[1]), flush(c)), sum = flush_fma(widen(a[0]), widen(b[0]), odd);
        if (std::isnan(expected) && std::isnan(sum)) continue;
        ASSERT_EQ(std::bit_cast<std::uint32_t>(sum), std::bit_cast<std::uint32_t>(expected)) << i;
        const float unflushed = std::fmaf(widen(a[0]), widen(b[0]), odd);
        at_boundary += std::fabs(unflushed) == 0x1p-126f && sum == 0;
    }
    EXPECT_GT(at_boundary, 100);
}
#endif

TEST(Reference, BadCallsNameTheRuleAndTouchNothing) {
    Array a(DType::float32, {2, 3}), b(DType::float32, {3, 4}), wrong(DType::float32, {4, 4}),
        out(DType::float32, {2, 4});
    Array doubles(DType::float64, {3, 4}), flags(DType::boolean, {2, 3});
    const auto before = out.bytes();
    const auto fails = [&](const View& x, const View& y, const View& z, const char* equation) {
        std::string message;
        using Call = void (*)(const View&, const View&, const View&, const Labels&);
        const Call fast = [](const View& p, const View& q, const View& r, const Labels& l) { contract(p, q, r, l); };
        const Call law = [](const View& p, const View& q, const View& r, const Labels& l) {
            contract_reference(p, q, r, l);
        };
        for (const Call f : {fast, law}) {
            try {
                f(x, y, z, Equation(equation).labels());
                ADD_FAILURE() << equation << " was accepted";
            } catch (const ShapeError& e) {
                message = text("ShapeError ", e.what());
            } catch (const TypeError& e) {
                message = text("TypeError ", e.what());
            }
        }
        return message;
    };
    const auto has = [](const std::string& message, const char* part) {
        return message.find(part) != std::string::npos;
    };
    const std::string extents = fails(a.view(), wrong.view(), out.view(), "mk,kn->mn");
    EXPECT_TRUE(has(extents, "ShapeError contract: ") && has(extents, "(2, 3)") && has(extents, "3 and 4")) << extents;
    EXPECT_TRUE(has(fails(a.view(), b.view(), out.view(), "mkx,kn->mn"), "one label for each axis"));
    EXPECT_TRUE(has(fails(a.view(), b.view(), out.view(), "mm,kn->mn"), "repeats within a"));
    EXPECT_TRUE(has(fails(a.view(), b.view(), out.view(), "mx,kn->mn"), "stands in a alone"));
    EXPECT_TRUE(has(fails(a.view(), b.view(), a.view(), "mk,kx->mk"), "stands in b alone"));
    EXPECT_TRUE(has(fails(a.view(), b.view(), out.view(), "mk,kn->mx"), "alone"));
    EXPECT_TRUE(has(fails(a.view(), doubles.view(), out.view(), "mk,kn->mn"),
                    "TypeError contract: operands must share a dtype"));
    EXPECT_TRUE(has(fails(doubles.view(), doubles.view(), out.view(), "mk,kn->mn"), "TypeError"));
    EXPECT_TRUE(has(fails(flags.view(), b.view(), out.view(), "mk,kn->mn"), "not bool"));
    EXPECT_EQ(out.bytes(), before);
}

}  // namespace
}  // namespace tenon::product
