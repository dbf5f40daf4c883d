// The functions' accuracy: float over all 2^32 inputs against double, double against long double, special values.
#include <cfloat>

#include "tape/kernels.h"
#include "tape/testing.h"

namespace tenon::tape {
namespace {

using namespace testing;

/// The table of math.h.
struct Bound {
    Opcode op;
    double float32, float64;
};
constexpr Bound kBounds[] = {{Opcode::exp, 0.91, 1.0},  {Opcode::expm1, 1.6, 2.0},   {Opcode::log, 0.85, 0.9},
                             {Opcode::log1p, 1.5, 1.5}, {Opcode::sin, 0.51, 0.85},   {Opcode::cos, 0.51, 0.85},
                             {Opcode::atan, 1.8, 2.0},  {Opcode::tanh, 1.6, 1.6},    {Opcode::erf, 1.7, 1.3},
                             {Opcode::rsqrt, 1.5, 1.5}, {Opcode::logistic, 2.5, 2.5}};

long double exact(Opcode op, long double x) {
    switch (op) {
        case Opcode::exp:
            return std::exp(x);
        case Opcode::expm1:
            return std::expm1(x);
        case Opcode::log:
            return std::log(x);
        case Opcode::log1p:
            return std::log1p(x);
        case Opcode::sin:
            return std::sin(x);
        case Opcode::cos:
            return std::cos(x);
        case Opcode::atan:
            return std::atan(x);
        case Opcode::tanh:
            return std::tanh(x);
        case Opcode::erf:
            return std::erf(x);
        case Opcode::rsqrt:
            return 1 / std::sqrt(x);
        default:
            return 1 / (1 + std::exp(-x));
    }
}

Kernel kernel(Opcode op, DType type) { return kernels().elementwise[static_cast<int>(op)][static_cast<int>(type)]; }

/// The largest error in ulp of y[i] as r[i] rounded to float; infinite where NaN, infinity or a zero's sign differ.
/// Infinity counts as 2^128, so that a result may overflow within the bound. The compiler vectorises it: conditions are
/// masks of bits, and the largest error is that of its bits, whose order is that of numbers without a sign.
// Not under the thread sanitizer, which is not there yet when the loader asks which clone to take.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
double
worst_error(const float* y, const double* r, std::int64_t n) {
    constexpr double kTop = 0x1p128;
    const auto bits = [](double x) { return __builtin_bit_cast(std::uint64_t, x); };
    const auto number = [](std::uint64_t x) { return __builtin_bit_cast(double, x); };
    std::uint64_t worst = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        const double wide = y[i];
        const double got = wide > kTop ? kTop : wide < -kTop ? -kTop : wide;
        const double want = r[i] > kTop ? kTop : r[i] < -kTop ? -kTop : r[i];
        const double binade = number(bits(want) & 0x7ff0000000000000u);
        const double ulp = binade * 0x1p-23 > 0x1p-149 ? binade * 0x1p-23 : 0x1p-149;
        const double per_ulp = number(0x7fe0000000000000u - bits(ulp));  // 1 / ulp, a power of two
        const std::uint64_t error = bits((got - want) * per_ulp) & 0x7fffffffffffffffu;
        const std::uint64_t nan_y = wide != wide ? ~std::uint64_t{0} : 0, nan_r = r[i] != r[i] ? ~std::uint64_t{0} : 0;
        const std::uint64_t sign = wide == 0 ? 0 - ((bits(wide) ^ bits(r[i])) >> 63) : 0;
        const std::uint64_t wrong = (nan_y ^ nan_r) | sign;
        const std::uint64_t counted = (error & ~(nan_y & nan_r) & ~wrong) | (bits(0x1p1000) & wrong);
        worst = counted > worst ? counted : worst;
    }
    return number(worst);
}

class Float32 : public ::testing::TestWithParam<Bound> {};

TEST_P(Float32, WithinTheStatedErrorForEveryInput) {
    const Bound bound = GetParam();
    const Kernel f = kernel(bound.op, DType::float32), reference = kernel(bound.op, DType::float64);
    // Every input where the build and the CPU allow it in reasonable time, else one of each stride.
    const std::uint64_t stride = kSlowBuild || isa() == Isa::baseline ? 4099 : 1;
    constexpr std::int64_t kN = 4096;
    std::vector<float> x(kN), y(kN);
    std::vector<double> xd(kN), r(kN);
    // Beyond 2^25 the sine of a float is that of the double, rounded, by the same exact reduction, which takes most of
    // the time: a piece of 61 there.
    const bool of_angles = bound.op == Opcode::sin || bound.op == Opcode::cos;
    const auto is_skipped = [&](std::uint64_t base) {
        const float least = __builtin_bit_cast(float, static_cast<std::uint32_t>(base));
        return of_angles && stride == 1 && std::fabs(least) > 0x1p26f && base / kN % 61 != 0;
    };
    double worst = 0;
    std::uint32_t where = 0;
    for (std::uint64_t base = 0; base < (std::uint64_t{1} << 32); base += kN * stride) {
        if (is_skipped(base)) continue;
        for (std::int64_t i = 0; i < kN; ++i) {
            x[i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(base + static_cast<std::uint64_t>(i) * stride));
            xd[i] = x[i];
        }
        const void* in[] = {x.data()};
        const void* wide[] = {xd.data()};
        f(y.data(), in, kN);
        reference(r.data(), wide, kN);
        const double error = worst_error(y.data(), r.data(), kN);
        if (error > worst) worst = error, where = static_cast<std::uint32_t>(base);
    }
    EXPECT_LE(worst, bound.float32) << "from input bits " << std::hex << where;
    RecordProperty("worst_ulp", std::to_string(worst));
    std::printf("%s float32: %.4f ulp\n", std::string(name(bound.op)).c_str(), worst);
}

/// The form for what is usual is taken for pieces of 64 elements without any other.
TEST(Math, TheUsualFormOfExpHasTheBitsOfTheOther) {
    const Kernel f = kernel(Opcode::exp, DType::float32);
    const std::uint64_t stride = kSlowBuild || isa() == Isa::baseline ? 4099 : 5;
    constexpr std::int64_t kN = 4096, kPiece = 64;
    std::vector<float> x(kN), y(kN), z(kN);
    for (std::uint64_t base = 0; base < (std::uint64_t{1} << 32); base += kN * stride) {
        for (std::int64_t i = 0; i < kN; ++i)
            x[i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(base + static_cast<std::uint64_t>(i) * stride));
        const void* in[] = {x.data()};
        f(y.data(), in, kN);
        for (const std::int64_t unusual : {std::int64_t{0}, kPiece - 1}) {
            std::vector<float> some = x;
            for (std::int64_t i = unusual; i < kN; i += kPiece) some[i] = 1000, y[i] = HUGE_VALF;
            const void* these[] = {some.data()};
            f(z.data(), these, kN);
            for (std::int64_t i = 0; i < kN; ++i)
                if (std::memcmp(&y[i], &z[i], 4) != 0 && !(std::isnan(y[i]) && std::isnan(z[i])))
                    FAIL() << std::hex << __builtin_bit_cast(std::uint32_t, x[i]);
            f(y.data(), in, kN);
        }
    }
}

std::string test_name(const ::testing::TestParamInfo<Bound>& info) { return std::string(name(info.param.op)); }
INSTANTIATE_TEST_SUITE_P(Math, Float32, ::testing::ValuesIn(kBounds), test_name);

/// In ulp of the exact value as a double.
double error64(double y, long double r) {
    const auto rounded = static_cast<double>(r);
    if (std::isnan(rounded) || std::isnan(y)) return std::isnan(rounded) && std::isnan(y) ? 0 : HUGE_VAL;
    if (std::isinf(rounded) || std::isinf(y) || rounded == 0) {
        const bool edge =
            std::fabs(rounded) >= DBL_MAX && std::fabs(y) >= DBL_MAX && std::signbit(y) == std::signbit(rounded);
        if (edge) return 0;
        return y == rounded && std::signbit(y) == std::signbit(rounded) ? 0 : HUGE_VAL;
    }
    int exponent = 0;
    (void)std::frexp(rounded, &exponent);
    return static_cast<double>(std::fabs(y - r) / std::ldexp(1.0L, std::max(exponent - 53, -1074)));
}

std::vector<double> double_points(std::size_t n) {
    std::mt19937_64 random(11);
    std::vector<double> v;
    for (const double x : {0.0,      DBL_MIN, DBL_MAX,
                           5e-324,   1e-310,  1.0,
                           HUGE_VAL, 709.78,  709.79,
                           710.0,    744.4,   745.13,
                           745.14,   746.0,   0.5,
                           0.55,     5.9,     6.0,
                           20.0,     0x1p25,  0x1.0000000000001p25,
                           0x1p-55,  0x1p-54, 6381956970095103.0 * 0x1p797})
        v.insert(v.end(), {x, -x});
    // Closest doubles to multiples of pi/2, and the neighbourhood of 1.
    for (int k = 1; k < 2000; ++k)
        v.push_back(k * 0x1.921fb54442d18p+0), v.push_back(1 + k * 0x1p-52), v.push_back(1 - k * 0x1p-53);
    while (v.size() < n) {
        const double u = std::uniform_real_distribution<double>(-1, 1)(random);
        v.insert(v.end(), {u, 4 * u, 40 * u, 750 * u, 1e6 * u, 1e9 * u, u * u * u * u * u * u * u});
        v.push_back(std::bit_cast<double>(random()));
    }
    return v;
}

class Float64 : public ::testing::TestWithParam<Bound> {};

TEST_P(Float64, WithinTheStatedErrorOfLongDouble) {
    if (LDBL_MANT_DIG <= DBL_MANT_DIG) GTEST_SKIP() << "long double is no wider than double here";
    const Bound bound = GetParam();
    const std::vector<double> x = double_points(kSlowBuild ? 100'000 : 3'000'000);
    std::vector<double> y(x.size());
    const void* in[] = {x.data()};
    kernel(bound.op, DType::float64)(y.data(), in, static_cast<std::int64_t>(x.size()));
    double worst = 0, where = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double error = error64(y[i], exact(bound.op, x[i]));
        if (error > worst) worst = error, where = x[i];
    }
    EXPECT_LE(worst, bound.float64) << "at " << std::hexfloat << where;
    std::printf("%s float64: %.4f ulp\n", std::string(name(bound.op)).c_str(), worst);
}
INSTANTIATE_TEST_SUITE_P(Math, Float64, ::testing::ValuesIn(kBounds), test_name);

TEST(Pow, WithinTheStatedError) {
    std::mt19937_64 random(3);
    const std::size_t n = kSlowBuild ? 100'000 : 4'000'000;
    std::vector<double> x(n), y(n), r(n);
    std::vector<float> xf(n), yf(n), rf(n);
    for (std::size_t i = 0; i < n; ++i) {
        const double width = std::ldexp(1.0, static_cast<int>(i % 11) - 8);
        x[i] = std::exp(std::uniform_real_distribution<double>(-width, width)(random));
        y[i] = std::uniform_real_distribution<double>(-1, 1)(random) * 700 /
               (i % 3 == 0 ? 1 : width * static_cast<double>(1 + i % 5));
        xf[i] = static_cast<float>(x[i]);
        yf[i] = static_cast<float>(y[i] / 8);
    }
    const void* in[] = {x.data(), y.data()};
    const void* inf[] = {xf.data(), yf.data()};
    kernel(Opcode::pow, DType::float64)(r.data(), in, static_cast<std::int64_t>(n));
    kernel(Opcode::pow, DType::float32)(rf.data(), inf, static_cast<std::int64_t>(n));
    double worst = 0, worst_float = 0;
    for (std::size_t i = 0; i < n; ++i) {
        worst =
            std::max(worst, error64(r[i], std::pow(static_cast<long double>(x[i]), static_cast<long double>(y[i]))));
        const double reference = std::pow(static_cast<double>(xf[i]), static_cast<double>(yf[i]));
        worst_float = std::max(worst_float, worst_error(&rf[i], &reference, 1));
    }
    EXPECT_LE(worst, 1.2);
    EXPECT_LE(worst_float, 0.51);
    std::printf("pow: float32 %.4f, float64 %.4f ulp\n", worst_float, worst);
}

TEST(Pow, SpecialValuesAsInC) {
    const double values[] = {0.0,
                             -0.0,
                             1.0,
                             -1.0,
                             0.5,
                             -0.5,
                             2.0,
                             -2.0,
                             3.0,
                             -3.0,
                             2.5,
                             -2.5,
                             1e300,
                             -1e300,
                             5e-324,
                             -5e-324,
                             HUGE_VAL,
                             -HUGE_VAL,
                             std::nan(""),
                             0x1p52,
                             0x1p53,
                             0x1.8p52,
                             4503599627370497.0,
                             -4503599627370497.0,
                             9007199254740991.0};
    for (const double x : values)
        for (const double y : values) {
            const void* in[] = {&x, &y};
            double r = 0;
            kernel(Opcode::pow, DType::float64)(&r, in, 1);
            EXPECT_LE(error64(r, std::pow(x, y)), 1.5) << x << " ^ " << y << " = " << r;
            const auto xf = static_cast<float>(x), yf = static_cast<float>(y);
            const void* inf[] = {&xf, &yf};
            float rf = 0;
            kernel(Opcode::pow, DType::float32)(&rf, inf, 1);
            const double want = std::pow(static_cast<double>(xf), static_cast<double>(yf));
            EXPECT_LE(worst_error(&rf, &want, 1), 0.51) << xf << " ^ " << yf << " = " << rf;
        }
}

}  // namespace
}  // namespace tenon::tape
