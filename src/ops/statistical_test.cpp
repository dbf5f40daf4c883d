// Reductions: axes, keepdims, dtypes, empty tensors, precision, derivatives.
#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

TEST(Statistical, AxesAndKeepdims) {
    const Tensor x = reshape(arange(24), {2, 3, 4});
    EXPECT_EQ(sum(x).item<std::int64_t>(), 276);
    expect_values(sum(x, 0), {3, 4}, {12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34});
    expect_values(sum(x, {0, -1}), {3}, {60, 92, 124});
    expect_values(sum(x, {-1, 0}, true), {1, 3, 1}, {60, 92, 124});
    expect_values(max(x, -1), {2, 3}, {3, 7, 11, 15, 19, 23});
    expect_values(min(x, {1, 2}, true), {2, 1, 1}, {0, 12});
    EXPECT_EQ(sum(x, {}).shape(), x.shape());
    EXPECT_EQ(sum(x, std::nullopt, true).shape(), (Shape{1, 1, 1}));
    EXPECT_EQ(prod(arange(1, 6)).item<std::int64_t>(), 120);
    EXPECT_EQ(sum(Tensor(3)).item<int>(), 3);
    expect_error<ShapeError>([&] { sum(x, 3); }, {"sum", "3", "(2, 3, 4)"});
    expect_error<ShapeError>([&] { max(x, {0, -3}); }, {"max", "(2, 3, 4)"});
    expect_error<ShapeError>([&] { mean(vec({1}), 1); }, {"mean", "(1,)"});
}

TEST(Statistical, NarrowIntegersAreSummedWide) {
    const Tensor bytes = full({1000}, 100, DType::int8);
    EXPECT_EQ(sum(bytes).dtype(), DType::int64);
    EXPECT_EQ(sum(bytes).item<std::int64_t>(), 100000);
    EXPECT_EQ(sum(astype(bytes, DType::uint16)).dtype(), DType::uint64);
    EXPECT_EQ(prod(full({9}, 100, DType::uint8)).item<std::uint64_t>(), 1000000000000000000u);
    EXPECT_EQ(sum(bytes, 0, false, DType::int8).dtype(), DType::int8);
    EXPECT_EQ(cumulative_sum(bytes).dtype(), DType::int64);
    EXPECT_EQ(max(bytes).dtype(), DType::int8);
    EXPECT_EQ(sum(vec({1})).dtype(), DType::float64);
    EXPECT_EQ(sum(ones({2}, DType::float16)).dtype(), DType::float16);
    expect_error<TypeError>([] { sum(ones({2}, DType::boolean)); }, {"sum", "bool", "count_nonzero"});
    expect_error<TypeError>([] { mean(arange(3)); }, {"mean", "int64"});
}

TEST(Statistical, OfNothing) {
    const Tensor none = zeros({0, 3}, DType::float64);
    expect_values(sum(none, 0), {3}, {0, 0, 0});
    expect_values(prod(none, 0), {3}, {1, 1, 1});
    expect_values(max(none, 0), {3}, {-kInf, -kInf, -kInf});
    expect_values(mean(none, 0), {3}, {kNaN, kNaN, kNaN});
    expect_values(var(none, 0), {3}, {kNaN, kNaN, kNaN});
    EXPECT_EQ(sum(none, 1).shape(), (Shape{0}));
    EXPECT_TRUE(all(none).item<bool>());
    EXPECT_FALSE(any(none).item<bool>());
    EXPECT_EQ(count_nonzero(none).item<std::int64_t>(), 0);
}

TEST(Statistical, MeanAndVariance) {
    const Tensor x = Tensor::from<double>({1, 2, 3, 4, 5, 9}, {2, 3});
    EXPECT_EQ(mean(x).item<double>(), 4);
    expect_values(mean(x, 1, true), {2, 1}, {2, 6}, 1e-15);
    expect_values(var(x, 1), {2}, {2.0 / 3, 14.0 / 3}, 1e-15);
    expect_values(var(x, 1, 1), {2}, {1, 7}, 1e-15);
    expect_values(std(x, 1, 1, true), {2, 1}, {1, std::sqrt(7.0)}, 1e-15);
    expect_values(var(x, 1, 3), {2}, {kNaN, kNaN});
    // Far from zero: two passes do not cancel.
    EXPECT_NEAR(var(x + 1e9, 1).to<double>()[0], 2.0 / 3, 1e-12);
    // The sum is beyond float16, the mean is not; the squares are, the variance is not.
    const Tensor big = full({4096}, 30000.0, DType::float16);
    EXPECT_EQ(mean(big).dtype(), DType::float16);
    EXPECT_EQ(mean(big).item<float>(), 30000);
    const Tensor spread = astype(vec({-1000, 1000}), DType::float16);
    EXPECT_EQ(std(spread).item<float>(), 1000);
}

TEST(Statistical, CumulativeSums) {
    const Tensor x = ints({1, 2, 3, 4, 5, 6}, {2, 3});
    expect_values(cumulative_sum(x, 1), {2, 3}, {1, 3, 6, 4, 9, 15});
    expect_values(cumulative_sum(x, 0, {}, true), {3, 3}, {0, 0, 0, 1, 2, 3, 5, 7, 9});
    expect_values(cumulative_prod(x, -1, {}, true), {2, 4}, {1, 1, 2, 6, 1, 4, 20, 120});
    expect_values(cumulative_sum(arange(4)), {4}, {0, 1, 3, 6});
    expect_error<ShapeError>([&] { cumulative_sum(x); }, {"cumulative_sum", "(2, 3)"});
    expect_error<TypeError>([] { cumulative_sum(ones({2}, DType::boolean)); }, {"cumulative_sum", "bool"});
}

TEST(Statistical, Truth) {
    const Tensor x = Tensor::from<double>({0, 2, kNaN, 1, 1, 1}, {2, 3});
    EXPECT_EQ(all(x, 1).to<std::int64_t>(), (std::vector<std::int64_t>{0, 1}));
    EXPECT_EQ(any(x - x, 1, true).shape(), (Shape{2, 1}));
    EXPECT_EQ(any(zeros({2, 2}), 0).to<std::int64_t>(), (std::vector<std::int64_t>{0, 0}));
    EXPECT_EQ(any(x).dtype(), DType::boolean);
    expect_values(count_nonzero(x, 0), {3}, {1, 2, 2});
    EXPECT_EQ(count_nonzero(x > 1, 1).to<std::int64_t>(), (std::vector<std::int64_t>{1, 0}));
}

TEST(Statistical, Derivatives) {
    const std::vector<Tensor> x = {draw({3, 4}, 5)};
    expect_derivatives([](const auto& in) { return sum(in[0], 0); }, x, "sum");
    expect_derivatives([](const auto& in) { return prod(in[0], 1, true); }, x, "prod");
    expect_derivatives([](const auto& in) { return mean(in[0], {0, 1}); }, x, "mean");
    expect_derivatives([](const auto& in) { return var(in[0], 1, 1); }, x, "var");
    expect_derivatives([](const auto& in) { return std(in[0], 0); }, x, "std");
    expect_derivatives([](const auto& in) { return max(in[0], 1); }, x, "max");
    expect_derivatives([](const auto& in) { return min(in[0]); }, x, "min");
    expect_derivatives([](const auto& in) { return cumulative_sum(in[0], 1, {}, true); }, x, "cumulative_sum");
    expect_derivatives([](const auto& in) { return cumulative_prod(in[0], 0, {}, true); }, x, "cumulative_prod");
}

TEST(Statistical, DeviationOfEqualElementsHasADerivativeOfZero) {
    const auto f = [](const Tensor& x) { return tenon::std(x); };
    EXPECT_EQ(slopes(f, vec({2, 2, 2})), (std::vector<double>{0, 0, 0}));
    EXPECT_EQ(f(vec({2, 2})).item<double>(), 0);
    expect_close(f(vec({1, kNaN})), {kNaN}, 0);
}

}  // namespace
}  // namespace tenon
