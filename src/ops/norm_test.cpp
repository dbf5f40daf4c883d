// softmax and its kin, layer and root-mean-square normalisation: values, extremes, narrow dtypes, derivatives.
#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

TEST(Softmax, AgreesWithTheFormulaAlongAnyAxis) {
    const Tensor x = draw({3, 4}, 1, -5, 5);
    for (int axis : {0, 1}) {
        const Tensor e = exp(x), total = sum(e, axis, true);
        expect_values(softmax(x, axis), {3, 4}, (e / total).to<double>(), 1e-15);
        expect_values(log_softmax(x, axis), {3, 4}, log(e / total).to<double>(), 2e-15);
        expect_values(logsumexp(x, axis, true), total.shape(), log(total).to<double>(), 1e-15);
    }
    EXPECT_EQ(logsumexp(x).shape(), (Shape{}));
    EXPECT_NEAR(logsumexp(x).item<double>(), std::log(sum(exp(x)).item<double>()), 1e-14);
    expect_error<ShapeError>([&] { softmax(x, 2); }, {"softmax", "2"});
    expect_error<TypeError>([] { softmax(arange(3)); }, {"softmax", "int64"});
}

TEST(Softmax, LargeNumbersDoNotOverflow) {
    expect_values(softmax(vec({1000, 1000, -1000})), {3}, {0.5, 0.5, 0});
    expect_values(log_softmax(vec({0, 1e6})), {2}, {-1e6, 0});
    expect_values(logsumexp(vec({-1e5, -1e5})), {}, {-1e5 + std::numbers::ln2}, 1e-15);
    expect_values(softmax(vec({0, -kInf})), {2}, {1, 0});
    expect_values(log_softmax(vec({0, -kInf})), {2}, {0, -kInf});
    expect_values(softmax(vec({0, kNaN})), {2}, {kNaN, kNaN});
    // In float16, exp(12) and a sum of 100,000 would overflow.
    const Tensor many = full({100000}, 12.0, DType::float16);
    EXPECT_NEAR(logsumexp(many).item<float>(), 12 + std::log(100000.0), 0.01);
    EXPECT_NEAR(sum(astype(softmax(many), DType::float32)).item<float>(), 1, 0.01);
}

TEST(LogSumExp, Infinities) {
    expect_values(logsumexp(vec({-kInf, -kInf})), {}, {-kInf});
    expect_values(logsumexp(vec({kInf, 1})), {}, {kInf});
    expect_values(logsumexp(vec({kNaN, 1})), {}, {kNaN});
    expect_values(logsumexp(zeros({2, 0}), 1), {2}, {-kInf, -kInf});
    const auto f = [](const Tensor& x) { return logsumexp(x); };
    EXPECT_EQ(slopes(f, vec({-kInf, -kInf})), (std::vector<double>{0, 0}));
    EXPECT_EQ(slopes(f, vec({-kInf, 3, 3})), (std::vector<double>{0, 0.5, 0.5}));
}

TEST(Softmax, Derivatives) {
    const std::vector<Tensor> x = {draw({2, 4}, 2, -2, 2)};
    expect_derivatives([](const auto& in) { return softmax(in[0]); }, x, "softmax");
    expect_derivatives([](const auto& in) { return softmax(in[0], 0); }, x, "softmax along 0");
    expect_derivatives([](const auto& in) { return log_softmax(in[0]); }, x, "log_softmax");
    expect_derivatives([](const auto& in) { return logsumexp(in[0], 1); }, x, "logsumexp");
    expect_derivatives([](const auto& in) { return logsumexp(in[0]); }, x, "logsumexp of all");
    // Also where two elements are the largest.
    expect_derivatives([](const auto& in) { return softmax(in[0]); }, {vec({1, 1, 0})}, "softmax of equals");
    const auto g = slopes([](const Tensor& t) { return softmax(t) * vec({1, 2}); }, vec({1e4, -1e4}));
    for (double v : g) EXPECT_EQ(v, 0);
}

TEST(LayerNorm, AgreesWithTheFormula) {
    const Tensor x = draw({4, 10}, 1, -3, 5), w = draw({10}, 2), b = draw({10}, 3);
    const auto v = x.to<double>(), weight = w.to<double>(), bias = b.to<double>();
    std::vector<double> layer, rms;
    for (std::size_t r = 0; r < 4; ++r) {
        double mean = 0, variance = 0, squares = 0;
        for (std::size_t i = 0; i < 10; ++i) mean += v[r * 10 + i] / 10;
        for (std::size_t i = 0; i < 10; ++i) variance += (v[r * 10 + i] - mean) * (v[r * 10 + i] - mean) / 10;
        for (std::size_t i = 0; i < 10; ++i) squares += v[r * 10 + i] * v[r * 10 + i] / 10;
        for (std::size_t i = 0; i < 10; ++i) {
            layer.push_back((v[r * 10 + i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i]);
            rms.push_back(v[r * 10 + i] / std::sqrt(squares + 1e-3) * weight[i]);
        }
    }
    expect_values(layer_norm(x, w, b), {4, 10}, layer, 2e-15);
    expect_values(rms_norm(x, w, 1e-3), {4, 10}, rms, 2e-15);
    expect_values(mean(layer_norm(x), -1), {4}, {0, 0, 0, 0}, 1e-15);
    // The same from float32 parameters and bfloat16 activations, in the activations' dtype.
    const Tensor narrow = layer_norm(astype(x, DType::bfloat16), astype(w, DType::float32), astype(b, DType::float32));
    EXPECT_EQ(narrow.dtype(), DType::bfloat16);
    expect_close(narrow, layer, 0.05);
}

TEST(LayerNorm, ConstantRowsAndFarOffsets) {
    expect_values(layer_norm(full({2, 3}, 7.0)), {2, 3}, {0, 0, 0, 0, 0, 0});
    const Tensor x = astype(vec({60000, 60000, 60000, 60064}), DType::float16);  // sums and squares beyond float16
    const auto y = layer_norm(x).to<float>();
    EXPECT_NEAR(y[0], -0.577, 0.001);
    EXPECT_NEAR(y[3], 1.732, 0.001);
    EXPECT_NEAR(rms_norm(x).to<float>()[0], 1, 0.001);
    for (double g : slopes([](const Tensor& t) { return layer_norm(t) * vec({1, 2, 4}); }, vec({5, 5, 5})))
        EXPECT_TRUE(std::isfinite(g));
}

TEST(LayerNorm, Derivatives) {
    const std::vector<Tensor> in = {draw({2, 5}, 1, -2, 2), draw({5}, 2), draw({5}, 3)};
    expect_derivatives([](const auto& a) { return layer_norm(a[0], a[1], a[2]); }, in, "layer_norm");
    expect_derivatives([](const auto& a) { return rms_norm(a[0], a[1]); }, in, "rms_norm");
}

TEST(LayerNorm, Errors) {
    expect_error<ShapeError>([] { layer_norm(Tensor(1.0)); }, {"layer_norm", "()"});
    expect_error<ShapeError>([] { layer_norm(zeros({2, 3}), zeros({4})); }, {"layer_norm", "(2, 3)", "(4,)"});
    expect_error<ShapeError>([] { rms_norm(zeros({1, 3}), zeros({2, 3})); }, {"rms_norm", "(1, 3)", "(2, 3)"});
    expect_error<TypeError>([] { rms_norm(ones({3}, DType::int32)); }, {"rms_norm", "int32"});
}

}  // namespace
}  // namespace tenon
