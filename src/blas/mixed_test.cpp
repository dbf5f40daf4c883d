// Products of bfloat16 and of 8-bit integers.

#include "blas/blas_testing.h"
#include "tenon/dtype.h"

namespace tenon::blas::testing {
namespace {

TEST(Mixed, Bfloat16IntoFloat) {
    constexpr int m = 9, n = 7, k = 33;
    Random random(1);
    std::vector<std::uint16_t> a(m * k), b(k * n);
    for (auto* each : {&a, &b})
        for (std::uint16_t& x : *each) x = to_bfloat16(random.number<float>()).bits;
    std::vector<float> c(m * n, 1), mkl(m * n, 1);
    using Gemm = void(int, int, int, int, int, int, float, const std::uint16_t*, int, const std::uint16_t*, int, float,
                      float*, int);
    function<Gemm>("cblas_sbgemm")(101, 111, 111, m, n, k, 2, a.data(), k, b.data(), n, 0.5f, c.data(), n);
    function<Gemm>("cblas_gemm_bf16bf16f32")(101, 111, 111, m, n, k, 2, a.data(), k, b.data(), n, 0.5f, mkl.data(), n);
    EXPECT_EQ(c, mkl);
    const auto value = [](std::uint16_t bits) { return static_cast<double>(to_float(bfloat16{bits})); };
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
            double sum = 0;
            for (int p = 0; p < k; ++p) sum += value(a[i * k + p]) * value(b[p * n + j]);
            EXPECT_NEAR(c[i * n + j], 2 * sum + 0.5, 1e-5);
        }
}

using Int8Gemm = void(int, int, int, int, int, int, int, float, const void*, int, std::int8_t, const void*, int,
                      std::int8_t, float, std::int32_t*, int, const std::int32_t*);

TEST(Mixed, IntegersWithOffsets) {
    constexpr int m = 6, n = 5, k = 40;
    constexpr int kLayouts[] = {101, 102}, kOffsets[] = {171, 172, 173};
    Random random(2);
    std::vector<std::uint8_t> a(m * k), b(k * n);
    for (auto* each : {&a, &b})
        for (std::uint8_t& x : *each) x = static_cast<std::uint8_t>(random.below(256));
    std::vector<std::int32_t> oc(m + n);
    for (std::int32_t& x : oc) x = static_cast<std::int32_t>(random.below(1000)) - 500;
    for (const int layout : kLayouts)
        for (const int offset : kOffsets)
            for (const float alpha : {1.0f, 0.5f}) {
                const bool rows = layout == 101;
                const float beta = alpha == 1 ? 0.0f : 2.0f;
                std::vector<std::int32_t> c(m * n, 3);
                function<Int8Gemm>("cblas_gemm_s8u8s32")(layout, 111, 112, offset, m, n, k, alpha, a.data(),
                                                         rows ? k : m, 3, b.data(), rows ? k : n, -4, beta, c.data(),
                                                         rows ? n : m, oc.data());
                const auto as_signed = [](std::uint8_t x) { return static_cast<int>(static_cast<std::int8_t>(x)); };
                for (int i = 0; i < m; ++i)
                    for (int j = 0; j < n; ++j) {
                        int sum = 0;
                        for (int p = 0; p < k; ++p) {
                            const std::uint8_t x = a[rows ? i * k + p : p * m + i], y = b[rows ? j * k + p : p * n + j];
                            // By rows A is unsigned, by columns B is.
                            sum += ((rows ? x : as_signed(x)) + 3) * ((rows ? as_signed(y) : y) - 4);
                        }
                        const int plus = oc[offset == 173 ? 0 : offset == 172 ? i : j];
                        const double wanted = std::nearbyint(double(alpha) * sum + double(beta) * 3 + plus);
                        ASSERT_EQ(c[rows ? i * n + j : j * m + i], static_cast<int>(wanted)) << layout << offset;
                    }
            }
}

TEST(Mixed, AnOperandThatSharesMemoryWithTheResultIsReadFirst) {
    constexpr int n = 12;
    Random random(3);
    const auto draw = [&] {
        std::vector<std::uint16_t> x(n * n);
        for (std::uint16_t& e : x) e = to_bfloat16(random.number<float>()).bits;
        return x;
    };
    using Narrow = void(int, int, int, int, int, int, float, const std::uint16_t*, int, const std::uint16_t*, int,
                        float, std::uint16_t*, int);
    const auto bgemm = [](int trans, const std::vector<std::uint16_t>& a, const std::uint16_t* b, std::uint16_t* c) {
        function<Narrow>("cblas_bgemm")(102, trans, 111, n, n, n, 1, a.data(), n, b, n, 0, c, n);
    };
    for (const int trans : {111, 112}) {
        const std::vector<std::uint16_t> a = draw(), b = draw();
        std::vector<std::uint16_t> apart(n * n), in_place = b;
        bgemm(trans, a, b.data(), apart.data());
        bgemm(trans, a, in_place.data(), in_place.data());
        EXPECT_EQ(in_place, apart);
        in_place = a;
        function<Narrow>("cblas_bgemm")(102, trans, 111, n, n, n, 1, in_place.data(), n, b.data(), n, 0,
                                        in_place.data(), n);
        EXPECT_EQ(in_place, apart);
    }
    std::vector<std::int32_t> apart(n * n), in_place(n * n, 0x01020304), oc(1, 5);
    const std::vector<std::int32_t> a = in_place;
    const std::vector<std::int8_t> b(n * n, -3);
    const auto integers = [&](const void* left, std::vector<std::int32_t>& c) {
        function<Int8Gemm>("cblas_gemm_s8u8s32")(101, 111, 111, 173, n, n, n, 1, left, n, 1, b.data(), n, 0, 0,
                                                 c.data(), n, oc.data());
    };
    integers(a.data(), apart);
    integers(in_place.data(), in_place);
    EXPECT_EQ(in_place, apart);
}

}  // namespace
}  // namespace tenon::blas::testing
