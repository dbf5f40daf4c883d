// Losses, one_hot and dropout: values against loops, extremes, bad labels, derivatives.
#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

double by_loops(const Tensor& logits, const std::vector<std::int64_t>& labels, double smoothing) {
    const auto v = logits.to<double>();
    const std::size_t classes = static_cast<std::size_t>(logits.extent(-1));
    double loss = 0;
    for (std::size_t r = 0; r < labels.size(); ++r) {
        double total = 0;
        for (std::size_t c = 0; c < classes; ++c) total += std::exp(v[r * classes + c]);
        for (std::size_t c = 0; c < classes; ++c) {
            const double target = (static_cast<std::int64_t>(c) == labels[r] ? 1 - smoothing : 0) +
                                  smoothing / static_cast<double>(classes);
            loss -= target * (v[r * classes + c] - std::log(total));
        }
    }
    return loss / static_cast<double>(labels.size());
}

TEST(CrossEntropy, AgreesWithLoops) {
    const Tensor logits = draw({4, 3}, 1, -3, 3);
    const std::vector<std::int64_t> labels = {2, 0, 1, 1};
    EXPECT_NEAR(cross_entropy(logits, ints(labels)).item<double>(), by_loops(logits, labels, 0), 1e-15);
    EXPECT_NEAR(cross_entropy(logits, ints(labels), 0.1).item<double>(), by_loops(logits, labels, 0.1), 1e-15);
    EXPECT_NEAR(cross_entropy(reshape(logits, {2, 2, 3}), astype(ints(labels, {2, 2}), DType::uint8)).item<double>(),
                by_loops(logits, labels, 0), 1e-15);
    EXPECT_NEAR(cross_entropy(astype(logits, DType::bfloat16), ints(labels)).item<float>(), by_loops(logits, labels, 0),
                0.02);
    EXPECT_EQ(cross_entropy(draw({3}, 1), Tensor(1)).shape(), (Shape{}));
}

TEST(CrossEntropy, LargeLogits) {
    EXPECT_EQ(cross_entropy(Tensor::from<double>({1e5, 0}, {1, 2}), ints({0})).item<double>(), 0);
    EXPECT_EQ(cross_entropy(Tensor::from<double>({1e5, 0}, {1, 2}), ints({1})).item<double>(), 1e5);
    // A class of probability 0 that is not the label adds nothing to the loss or to its gradient.
    const Tensor masked = Tensor::from<double>({1, -kInf, 1}, {1, 3});
    EXPECT_NEAR(cross_entropy(masked, ints({0})).item<double>(), std::numbers::ln2, 1e-15);
    EXPECT_EQ(slopes([](const Tensor& x) { return cross_entropy(x, ints({0})); }, masked),
              (std::vector<double>{-0.5, 0, 0.5}));
}

TEST(CrossEntropy, SlopesAreProbabilitiesLessTargets) {
    const Tensor logits = draw({4, 3}, 1, -3, 3), labels = ints({2, 0, 1, 1});
    const auto expected = ((softmax(logits) - one_hot(labels, 3, DType::float64)) / 4.0).to<double>();
    const auto g = slopes([&](const Tensor& x) { return cross_entropy(x, labels); }, logits);
    for (std::size_t i = 0; i < g.size(); ++i) EXPECT_NEAR(g[i], expected[i], 1e-15);
    expect_derivatives([&](const auto& in) { return cross_entropy(in[0], labels); }, {logits}, "cross_entropy");
    expect_derivatives([&](const auto& in) { return cross_entropy(in[0], labels, 0.2); }, {logits},
                       "with label smoothing");
    // In float32 the positions of labels are compared as such numbers.
    const Tensor single = astype(logits, DType::float32);
    const auto s = slopes([&](const Tensor& x) { return cross_entropy(x, labels); }, single);
    for (std::size_t i = 0; i < s.size(); ++i) EXPECT_NEAR(s[i], expected[i], 1e-7);
}

TEST(CrossEntropy, Errors) {
    const Tensor logits = zeros({2, 3});
    expect_error<ShapeError>([&] { cross_entropy(logits, ints({1, 2, 0})); }, {"cross_entropy", "(2, 3)", "(3,)"});
    expect_error<ShapeError>([&] { cross_entropy(Tensor(1.0), Tensor(0)); }, {"cross_entropy", "()"});
    expect_error<TypeError>([&] { cross_entropy(logits, zeros({2})); }, {"cross_entropy", "float32"});
    expect_error<ValueError>([&] { cross_entropy(logits, ints({1, 2}), 1.5); }, {"cross_entropy", "1.5"});
    for (std::int64_t bad : {-1, 3})
        expect_error<ValueError>([&] { cross_entropy(logits, ints({0, bad})).eval(); }, {"[0, 3)"});
}

TEST(Loss, OneHot) {
    expect_values(one_hot(ints({2, 0, -1, 3}), 3), {4, 3}, {0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0});
    EXPECT_EQ(one_hot(ints({0, 1}, {2, 1}), 4, DType::int8).shape(), (Shape{2, 1, 4}));
    EXPECT_EQ(one_hot(astype(arange(3), DType::uint8), 300).to<float>()[0], 1);
    expect_error<TypeError>([] { one_hot(vec({1}), 3); }, {"one_hot", "float64"});
    expect_error<ValueError>([] { one_hot(ints({1}), -3); }, {"one_hot", "-3"});
}

TEST(Loss, MeanSquaredError) {
    EXPECT_EQ(mse(vec({1, 2, 4}), vec({1, 4, 1})).item<double>(), 13.0 / 3);
    EXPECT_EQ(mse(full({4}, 1000.0, DType::float16), full({4}, 900.0, DType::float16)).item<float>(), 10000);
    expect_derivatives([](const auto& in) { return mse(in[0], in[1]); }, {draw({2, 3}, 1), draw({3}, 2)}, "mse");
    expect_error<ShapeError>([] { mse(vec({1, 2}), vec({1, 2, 3})); }, {"mse", "(2,)", "(3,)"});
}

TEST(Dropout, KeepsTheMean) {
    const random::Key key(5);
    const Tensor x = ones({200, 500}), y = dropout(x, 0.3, key);
    const auto v = y.to<double>();
    const auto zeros_in = std::count(v.begin(), v.end(), 0.0);
    EXPECT_NEAR(static_cast<double>(zeros_in) / 1e5, 0.3, 0.006);  // four deviations
    for (double e : v) EXPECT_TRUE(e == 0 || std::fabs(e - 1 / 0.7) < 1e-6);
    EXPECT_EQ(dropout(x, 0.3, key).to<double>(), v);
    EXPECT_NE(dropout(x, 0.3, random::Key(6)).to<double>(), v);
    // The elements that stay do not depend on the dtype, and the derivative stays with them.
    EXPECT_EQ((dropout(astype(x, DType::bfloat16), 0.3, key) > 0).to<std::int64_t>(), (y > 0).to<std::int64_t>());
    const auto g = slopes([&](const Tensor& t) { return dropout(t, 0.3, key); }, astype(x, DType::float64));
    for (std::size_t i = 0; i < g.size(); ++i) EXPECT_EQ(g[i] == 0, v[i] == 0);
}

TEST(Dropout, Ends) {
    const random::Key key(5);
    const Tensor x = vec({1, kInf, kNaN});
    expect_values(dropout(x, 0, key), {3}, {1, kInf, kNaN});
    expect_values(dropout(x, 1, key), {3}, {0, 0, 0});
    expect_error<ValueError>([&] { dropout(x, -0.1, key); }, {"dropout", "(3,)", "-0.1"});
    expect_error<ValueError>([&] { dropout(x, kNaN, key); }, {"dropout", "nan"});
}

}  // namespace
}  // namespace tenon
