// Elementwise functions against the C library, at special values, in every floating dtype; derivatives, at branches
// too.
#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

struct Unary {
    const char* name;
    Tensor (*f)(const Tensor&);
    double (*reference)(double);
    double low, high;  // where to sample and differentiate
};

const Unary kUnary[] = {
    {"square", square, [](double x) { return x * x; }, -3, 3},
    {"reciprocal", reciprocal, [](double x) { return 1 / x; }, 0.2, 3},
    {"exp2", exp2, [](double x) { return std::exp2(x); }, -5, 5},
    {"log2", log2, [](double x) { return std::log2(x); }, 0.1, 9},
    {"log10", log10, [](double x) { return std::log10(x); }, 0.1, 9},
    {"tan", tan, [](double x) { return std::tan(x); }, -1.2, 1.2},
    {"asin", asin, [](double x) { return std::asin(x); }, -0.9, 0.9},
    {"acos", acos, [](double x) { return std::acos(x); }, -0.9, 0.9},
    {"sinh", sinh, [](double x) { return std::sinh(x); }, -3, 3},
    {"cosh", cosh, [](double x) { return std::cosh(x); }, -3, 3},
    {"asinh", asinh, [](double x) { return std::asinh(x); }, -3, 3},
    {"acosh", acosh, [](double x) { return std::acosh(x); }, 1.1, 5},
    {"atanh", atanh, [](double x) { return std::atanh(x); }, -0.9, 0.9},
};

std::vector<double> mapped(const std::vector<double>& v, double (*f)(double)) {
    std::vector<double> r;
    for (double x : v) r.push_back(f(x));
    return r;
}

TEST(Elementwise, UnaryFunctionsAgreeWithTheCLibrary) {
    for (const Unary& u : kUnary) {
        const Tensor x = draw({200}, 1, u.low, u.high);
        expect_close(u.f(x), mapped(x.to<double>(), u.reference), 2e-15, u.name);
        const Tensor x32 = astype(x, DType::float32);
        expect_close(u.f(x32), mapped(x32.to<double>(), u.reference), 6e-7, u.name);
        for (DType narrow : {DType::float16, DType::bfloat16}) {
            // One rounding of the exact value: half a unit in the last place, and a little.
            const Tensor xn = astype(x, narrow), y = u.f(xn);
            EXPECT_EQ(y.dtype(), narrow);
            expect_close(y, mapped(xn.to<double>(), u.reference), narrow == DType::float16 ? 0.501 / 1024 : 0.501 / 128,
                         u.name);
        }
    }
}

TEST(Elementwise, UnaryFunctionsHaveDerivatives) {
    for (const Unary& u : kUnary)
        expect_derivatives([&](const auto& in) { return u.f(in[0]); }, {draw({7}, 2, u.low, u.high)}, u.name);
}

TEST(Elementwise, SpecialValuesAreIEEEs) {
    const std::vector<double> points = {0.0,    -0.0,    1,     -1, kInf, -kInf, kNaN,
                                        1e-300, -1e-300, 1e-12, 2,  -2,   1e200, -1e200};
    for (const Unary& u : kUnary) {
        if (std::string(u.name) == "exp2") continue;  // the primitive pow's
        if (std::string(u.name) == "tan") continue;  // beyond the range of the primitives' argument reduction
        expect_close(u.f(vec(points)), mapped(points, u.reference), 2e-15, u.name);
    }
}

TEST(Elementwise, SmallNumbersKeepTheirPrecision) {
    const std::vector<double> points = {1e-12, -1e-12, 3e-9, 1e-5, -1e-5};
    for (const Unary& u : kUnary) {
        if (u.low > -0.5 || u.reference(0) != 0) continue;
        const auto v = u.f(vec(points)).to<double>();
        for (std::size_t i = 0; i < v.size(); ++i)
            EXPECT_NEAR(v[i] / u.reference(points[i]), 1, 1e-15) << u.name << " " << points[i];
    }
    // Near the end of the domain, too.
    const Tensor near_one = vec({1 - 1e-10, 1 - 1e-14});
    const auto a = acos(near_one).to<double>(), b = atanh(negative(near_one)).to<double>();
    for (std::size_t i = 0; i < 2; ++i) {
        const double x = near_one.to<double>()[i];
        EXPECT_NEAR(a[i] / std::acos(x), 1, 1e-14);
        EXPECT_NEAR(b[i] / std::atanh(-x), 1, 1e-14);
    }
}

TEST(Elementwise, DerivativesAreRightWhereBranchesMeet) {
    EXPECT_EQ(slopes(asinh, vec({0.0, -0.0})), (std::vector<double>{1, 1}));
    EXPECT_EQ(slopes(atanh, vec({0.0, -0.0})), (std::vector<double>{1, 1}));
    const auto angle = [](const auto& in) { return atan2(in[0], in[1]); };
    const auto norm = [](const auto& in) { return hypot(in[0], in[1]); };
    const auto log_sum = [](const auto& in) { return logaddexp(in[0], in[1]); };
    const std::vector<Tensor> on_axes = {vec({0, 0, 1, -1, 1, -1, 1}), vec({1, 2, 0, 0, 1, 1, -1})};
    expect_derivatives(angle, on_axes, "atan2");
    expect_derivatives(norm, on_axes, "hypot");
    expect_derivatives(log_sum, {vec({1, 2, -1}), vec({1, 2, 3})}, "logaddexp");
    EXPECT_EQ(slopes([](const Tensor& x) { return hypot(x, x); }, vec({0}))[0],
              1);  // one of the possible slopes, not NaN
}

TEST(Elementwise, BinaryFunctionsAgreeWithTheCLibrary) {
    const std::vector<double> points = {0.0, -0.0, 1, -1, 0.5, -3, kInf, -kInf, kNaN, 1e200, -1e-200};
    std::vector<double> a, b, angles, norms, log_sums;
    for (double x : points) {
        for (double y : points) {
            a.push_back(x), b.push_back(y);
            angles.push_back(std::atan2(x, y));
            norms.push_back(std::hypot(x, y));
            const double high = std::max(x, y);
            log_sums.push_back(std::isnan(x) || std::isnan(y) ? kNaN
                               : std::isinf(high)             ? high
                                                              : high + std::log1p(std::exp(std::min(x, y) - high)));
        }
    }
    expect_close(atan2(vec(a), vec(b)), angles, 5e-16, "atan2");
    expect_close(hypot(vec(a), vec(b)), norms, 5e-16, "hypot");
    expect_close(logaddexp(vec(a), vec(b)), log_sums, 1e-15, "logaddexp");
    EXPECT_EQ(atan2(Tensor::from<float>({1, 2}, {2, 1}), Tensor::from<float>({1, 2, 3}, {1, 3})).shape(),
              (Shape{2, 3}));
    // Intermediate values beyond float16 do no harm.
    EXPECT_EQ(astype(hypot(astype(vec({30000}), DType::float16), 40000), DType::float32).to<float>()[0], 50000 - 16);
}

TEST(Elementwise, Predicates) {
    const Tensor x = vec({0.0, -0.0, kInf, -kInf, kNaN, -2});
    EXPECT_EQ(isinf(x).to<int64_t>(), (std::vector<std::int64_t>{0, 0, 1, 1, 0, 0}));
    EXPECT_EQ(signbit(x).to<int64_t>(), (std::vector<std::int64_t>{0, 1, 0, 1, 0, 1}));
    EXPECT_EQ(isinf(ints({1, 2})).to<int64_t>(), (std::vector<std::int64_t>{0, 0}));
    EXPECT_EQ(signbit(ints({1, -2})).to<int64_t>(), (std::vector<std::int64_t>{0, 1}));
    const Tensor a = ints({1, 2, 3}), b = ints({2, 2, 2});
    EXPECT_EQ((a > b).to<int64_t>(), (std::vector<std::int64_t>{0, 0, 1}));
    EXPECT_EQ((a >= b).to<int64_t>(), (std::vector<std::int64_t>{0, 1, 1}));
    EXPECT_EQ(((a < 3) & (a >= b)).to<int64_t>(), (std::vector<std::int64_t>{0, 1, 0}));
    EXPECT_EQ((a > b).dtype(), DType::boolean);
    EXPECT_EQ((vec({kNaN}) >= vec({kNaN})).item<bool>(), false);
}

TEST(Elementwise, LogicTakesAnyDtype) {
    const Tensor a = vec({0, 1, kNaN, 0}), b = ints({0, 0, 5, 7});
    EXPECT_EQ(logical_and(a, b).to<int64_t>(), (std::vector<std::int64_t>{0, 0, 1, 0}));
    EXPECT_EQ(logical_or(a, b).to<int64_t>(), (std::vector<std::int64_t>{0, 1, 1, 1}));
    EXPECT_EQ(logical_xor(a, b).to<int64_t>(), (std::vector<std::int64_t>{0, 1, 0, 1}));
    EXPECT_EQ(logical_not(a).to<int64_t>(), (std::vector<std::int64_t>{1, 0, 0, 1}));
    EXPECT_EQ((~logical_not(a)).to<int64_t>(), (std::vector<std::int64_t>{0, 1, 1, 0}));
}

TEST(Elementwise, ClipKeepsNaNAndTheSlopeAtTheBounds) {
    const Tensor x = vec({-2, -1, 0, 1, 2, kNaN});
    expect_values(clip(x, -1, 1), {6}, {-1, -1, 0, 1, 1, kNaN});
    expect_values(clip(x, {}, 1), {6}, {-2, -1, 0, 1, 1, kNaN});
    expect_values(clip(x, 0), {6}, {0, 0, 0, 1, 2, kNaN});
    expect_values(clip(x), {6}, {-2, -1, 0, 1, 2, kNaN});
    EXPECT_EQ(slopes([](const Tensor& t) { return clip(t, -1, 1); }, vec({-2, -1, 0, 1, 2})),
              (std::vector<double>{0, 1, 1, 1, 0}));
    EXPECT_EQ(clip(ints({-5, 300}), 0, 255).to<int64_t>(), (std::vector<std::int64_t>{0, 255}));
    EXPECT_EQ(clip(vec({5, 5}), {}, vec({1, 9})).to<double>(), (std::vector<double>{1, 5}));
    expect_error<TypeError>([] { clip(ints({1}), 0.5); }, {"clip"});
}

TEST(Elementwise, WhereKeepsADerivativeFromTheBranchNotTaken) {
    const auto f = [](const Tensor& x) { return where(x > 0, sqrt(where(x > 0, x, 1)), 0); };
    EXPECT_EQ(slopes(f, vec({-1, 0, 4})), (std::vector<double>{0, 0, 0.25}));
}

TEST(Elementwise, OtherDtypesAreRefusedByName) {
    expect_error<TypeError>([] { tan(ints({1, 2})); }, {"tan", "(2,)", "int64"});
    expect_error<TypeError>([] { atan2(ints({1, 2}), ints({1, 2})); }, {"atan2", "(2,)", "int64"});
    expect_error<ShapeError>([] { hypot(vec({1, 2}), vec({1, 2, 3})); }, {"hypot", "(2,)", "(3,)"});
    expect_error<ShapeError>([] { greater(vec({1, 2}), vec({1, 2, 3})); }, {"greater", "(2,)", "(3,)"});
}

TEST(Elementwise, ClipKeepsTheDtypeOfItsFirstOperand) {
    const Tensor x = astype(vec({-2, 0.5, 9}), DType::float32);
    EXPECT_EQ(clip(x, vec({-1, -1, -1}), vec({1, 1, 1})).dtype(), DType::float32);
    expect_values(clip(x, vec({-1, -1, -1}), vec({1, 1, 1})), {3}, {-1, 0.5, 1});
    expect_error<TypeError>([&] { clip(x, ints({1})); }, {"clip", "float32", "int64"});
}

TEST(Elementwise, InverseFunctionsAtTheEndsOfTheirDomains) {
    EXPECT_EQ(slopes(asin, vec({-1, 1})), (std::vector<double>{kInf, kInf}));
    EXPECT_EQ(slopes(acos, vec({-1, 1})), (std::vector<double>{-kInf, -kInf}));
    EXPECT_EQ(slopes(atanh, vec({-1, 1})), (std::vector<double>{kInf, kInf}));
    expect_close(acos(vec({-1, 0, 1})), {std::numbers::pi, std::numbers::pi / 2, 0}, 1e-15);
    expect_close(acosh(vec({1, 1.79e308, 1e9, 1e10})), {0, std::acosh(1.79e308), std::acosh(1e9), std::acosh(1e10)},
                 1e-15);
}

TEST(Elementwise, InPlaceOperatorsReplaceTheLeftOperandAlone) {
    Tensor x = Tensor::from({7.0f, 9.0f});
    const Tensor before = x;
    x += 1;
    x -= Tensor::from({2.0f, 4.0f});
    x *= 2;
    x /= 4;
    x %= 2;
    EXPECT_EQ(x.to<float>(), (std::vector<float>{1, 1}));
    EXPECT_EQ(before.to<float>(), (std::vector<float>{7, 9}));
    Tensor bits = Tensor::from({12, 10});
    bits &= 14;
    bits |= 1;
    bits ^= Tensor::from({3, 8});
    EXPECT_EQ(bits.to<int>(), (std::vector<int>{14, 3}));
    x = Tensor::from({1.0f, 2.0f});
    EXPECT_EQ((x += x).to<float>(), (std::vector<float>{2, 4}));
    Tensor total = 0;
    for (int i = 0; i < 3; ++i) total += x;
    EXPECT_EQ(total.to<float>(), (std::vector<float>{6, 12}));
}

TEST(Elementwise, InPlaceOperatorsKeepShapeAndDtype) {
    Tensor x = Tensor::from({1.0f, 2.0f});
    expect_error<ShapeError>([&] { x += ones({3, 2}); }, {"+= of (2,) float32", "(3, 2) float32", "shape"});
    expect_error<TypeError>([&] { x *= ones({2}, DType::float64); }, {"*= of (2,) float32", "(2,) float64", "dtype"});
    expect_error<ValueError>([&] { x -= Tensor(); }, {"subtract"});
    EXPECT_EQ(x.to<float>(), (std::vector<float>{1, 2}));
}

}  // namespace
}  // namespace tenon
