// Modules as trees, the layers, and the residual MLP: its counts (tenon/nn.h), learning rates and gradients.
#include "tenon/nn.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tenon/transform.h"

namespace tenon::nn {
namespace {

const random::Key kKey(3);

Tensor normal(std::uint64_t seed, const Shape& shape, DType t = DType::float64) {
    return random::normal(random::Key(seed), shape, 0, 1, t);
}

std::vector<std::string> names(const Tree& t) {
    std::vector<std::string> all;
    for (const auto& [name, leaf] : t.flatten()) all.push_back(name);
    return all;
}

struct Nested {
    Linear first;
    std::vector<Linear> list;
    std::optional<Tensor> shift;
    LinearMap map;
    template <class V>
    void visit(V&& v) {
        v("first", first);
        v("list", list);
        v("shift", shift);
        v("map", map);
    }
};

Nested nested() {
    const auto dense = [](std::uint64_t seed) { return map::Dense::from(normal(seed, {3, 3})); };
    return {Linear::with_bias(dense(1), DType::float64),
            {Linear{map::LowRank::random(kKey, 3, 3, {.rank = 1})}, Linear{dense(2)}},
            std::nullopt,
            map::WalshHadamard::of(4, 4)};
}

TEST(ModuleTest, ParametersAreNamedByMembers) {
    Nested n = nested();
    EXPECT_EQ(names(parameters(n)), (std::vector<std::string>{"first.weight", "first.bias", "list.0.weight.A",
                                                              "list.0.weight.B", "list.1.weight"}));
    n.shift = Tensor::from<double>({1, 2});
    EXPECT_EQ(names(parameters(n)).back(), "shift");
    EXPECT_EQ(names(learning_rates(n)), names(parameters(n)));
    EXPECT_EQ(learning_rates(n)["list.0.weight.B"].tensor().item<double>(), 1.5);
    EXPECT_EQ(learning_rates(n)["first.bias"].tensor().item<double>(), 1.0);
}

TEST(ModuleTest, WithParametersReplacesEveryTensor) {
    const Nested n = nested();
    const Nested other = with_parameters(n, parameters(n).map([](const Tensor& t) { return t + 1; }));
    const auto before = parameters(n).leaves(), after = parameters(other).leaves();
    ASSERT_EQ(before.size(), after.size());
    for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ((before[i] + 1).to<double>(), after[i].to<double>());
}

TEST(ModuleTest, TreesThatDoNotFitAreErrors) {
    const Nested n = nested();
    Tree p = parameters(n);
    p.set("more", Tensor(1.0));
    EXPECT_THROW(with_parameters(n, p), ValueError);
    EXPECT_THROW(with_parameters(n, Tree()), ValueError);
    std::vector<Tensor> leaves = parameters(n).leaves();
    leaves[1] = normal(9, {4});
    EXPECT_THROW(with_parameters(n, parameters(n).with_leaves(leaves)), ShapeError);
    leaves = parameters(n).leaves();
    leaves[2] = normal(9, {4});
    try {
        with_parameters(n, parameters(n).with_leaves(leaves));
        FAIL();
    } catch (const ShapeError& e) {
        EXPECT_NE(std::string(e.what()).find("list.0.weight"), std::string::npos) << e.what();
    }
}

TEST(LayersTest, LinearAddsItsBias) {
    const Tensor w = normal(1, {2, 3}), x = normal(2, {4, 3}), b = Tensor::from<double>({10, 20});
    const Linear l{map::Dense::from(w), b};
    EXPECT_EQ(l(x).to<double>(), (Linear{map::Dense::from(w)}(x) + b).to<double>());
    EXPECT_EQ(Linear::with_bias(map::Dense::from(w)).bias->to<double>(), (std::vector<double>{0, 0}));
}

TEST(LayersTest, NormsStartAsThePlainFunctions) {
    const Tensor x = normal(1, {4, 6});
    EXPECT_EQ(LayerNorm(6, 1e-5, DType::float64)(x).to<double>(),
              layer_norm(x, ones({6}, DType::float64), zeros({6}, DType::float64)).to<double>());
    EXPECT_EQ(RMSNorm(6, 1e-3, DType::float64)(x).to<double>(),
              rms_norm(x, ones({6}, DType::float64), 1e-3).to<double>());
    EXPECT_EQ(names(parameters(LayerNorm(6))), (std::vector<std::string>{"weight", "bias"}));
}

TEST(LayersTest, DropoutNeedsAKey) {
    const Tensor x = ones({1000}, DType::float64);
    EXPECT_EQ(Dropout{0.5}(x).to<double>(), x.to<double>());
    const auto y = Dropout{0.5}(x, kKey).to<double>();
    const auto zeros = static_cast<double>(std::count(y.begin(), y.end(), 0.0));
    EXPECT_NEAR(zeros, 500, 80);
    EXPECT_NEAR(static_cast<double>(std::count(y.begin(), y.end(), 2.0)), 1000 - zeros, 0);
    EXPECT_TRUE(names(parameters(Dropout{0.5})).empty());
}

TEST(LayersTest, EmbeddingPicksRows) {
    const Embedding e = Embedding::random(kKey, 5, 2);
    const Tensor i = Tensor::from<std::int64_t>({4, 0, 4}, {3});
    EXPECT_EQ(e(i).shape(), (Shape{3, 2}));
    EXPECT_EQ(e(i).at({2}).to<float>(), e.weight.at({4}).to<float>());
    EXPECT_THROW(e(Tensor::from<std::int64_t>({5})).eval(), ValueError);
}

struct Count {
    const char* structure;
    std::int64_t width;
    std::optional<std::int64_t> rank;
    std::int64_t multiply_adds, parameters;  // 0 parameters: as many as multiply-adds
};

MlpOptions cifar(const Count& c) {
    return {.in = 3072, .width = c.width, .classes = 100, .structure = c.structure, .rank = c.rank};
}

TEST(MlpTest, CountsAreThoseOfThePaper) {
    const Count counts[] = {
        {"dense", 32, {}, 126080, 0},
        {"dense", 64, {}, 301312, 0},
        {"dense", 256, {}, 2384896, 0},
        {"dense", 1024, {}, 28413952, 0},
        {"dense", 2048, {}, 107159552, 0},
        {"btt", 128, 1, 104960, 0},
        {"btt", 256, 1, 246784, 0},
        {"btt", 512, 1, 591872, 0},
        {"btt", 1024, 1, 1478656, 0},
        {"btt", 4096, 1, 10436608, 0},
        {"btt", 16384, 1, 79101952, 0},
        {"kronecker", 1024, {}, 1478656, 131072},
        {"kronecker", 16384, {}, 79101952, 2048000},
        {"tensor-train", 1024, 16, 22122496, 561152},
        {"tensor-train", 4096, 16, 160841728, 2113536},
        {"monarch", 64, {}, 87296, 0},
        {"monarch", 256, {}, 730112, 0},
        {"monarch", 1024, {}, 9015296, 0},
        {"monarch", 4096, {}, 131743744, 0},
    };
    for (const Count& c : counts) {
        const map::Cost cost = Mlp::random(kKey, cifar(c)).cost();
        EXPECT_EQ(cost.multiply_adds, c.multiply_adds) << c.structure << " " << c.width;
        EXPECT_EQ(cost.parameters, c.parameters ? c.parameters : c.multiply_adds) << c.structure << " " << c.width;
    }
}

TEST(MlpTest, LowRankKeepsADenseInputLayer) {
    const Mlp m = Mlp::random(kKey, cifar({"low-rank", 256, {}, 0, 0}));
    EXPECT_EQ(m.cost().parameters, 3072 * 256 + 6 * 16 * (256 + 1024) + 256 * 100);
    EXPECT_EQ(m.input.weight.structure().name(), "Dense");
}

MlpOptions small(const char* structure, std::optional<std::int64_t> rank = {}) {
    return {.in = 12,
            .width = 8,
            .depth = 2,
            .classes = 3,
            .structure = structure,
            .rank = rank,
            .bias = true,
            .dtype = DType::float64};
}

TEST(MlpTest, StartsAsAConstant) {
    for (const char* structure : {"dense", "low-rank", "kronecker", "tensor-train", "monarch", "btt"}) {
        const Mlp m = Mlp::random(kKey, small(structure));
        EXPECT_EQ(m(normal(1, {5, 12})).to<double>(), std::vector<double>(15, 0.0)) << structure;
    }
}

// Parameters away from the zeros they start at.
Tree moved(const Mlp& m) {
    std::uint64_t seed = 50;
    return parameters(m).map([&](const Tensor& t) { return t + 0.3 * normal(++seed, t.shape()); });
}

TEST(MlpTest, GradientsEqualFiniteDifferences) {
    const Mlp m = Mlp::random(kKey, small("btt", 2));
    const Tensor x = normal(1, {5, 12}), y = Tensor::from<std::int64_t>({0, 2, 1, 1, 0});
    const auto loss = [&](const Tree& p, const Tensor& images, const Tensor& labels) {
        return cross_entropy(with_parameters(m, p)(images), labels);
    };
    const Tree p = moved(m);
    const auto [value, grads] = value_and_grad(loss)(p, x, y);
    std::uint64_t seed = 90;
    const Tree direction = p.map([&](const Tensor& t) { return normal(++seed, t.shape()); });
    const auto at = [&](double h) {
        const auto a = p.leaves(), d = direction.leaves();
        std::vector<Tensor> leaves;
        for (std::size_t i = 0; i < a.size(); ++i) leaves.push_back(a[i] + d[i] * h);
        return loss(p.with_leaves(leaves), x, y).item<double>();
    };
    double slope = 0;
    const auto g = grads.leaves(), d = direction.leaves();
    for (std::size_t i = 0; i < g.size(); ++i) slope += sum(g[i] * d[i]).item<double>();
    constexpr double kStep = 1e-5;
    const double difference = (at(kStep) - at(-kStep)) / (2 * kStep);
    EXPECT_NEAR(slope, difference, 1e-6 * (1 + std::abs(difference)));
    EXPECT_GT(std::abs(slope), 1e-3);
    EXPECT_NEAR(value.item<double>(), at(0), 1e-12);
}

TEST(MlpTest, LearningRatesFollowWidthAndCores) {
    const Mlp m = Mlp::random(kKey, {.in = 784, .width = 256, .depth = 2, .structure = "btt"});
    const Tree r = learning_rates(m);
    EXPECT_EQ(names(r), names(parameters(m)));
    const auto rate = [&](const char* name) { return r[name].tensor().item<double>(); };
    EXPECT_DOUBLE_EQ(rate("input.weight.A"), 0.1 * 784 / 28 / 2);
    EXPECT_DOUBLE_EQ(rate("blocks.1.up.weight.A"), 0.25 * 256 / 16 / 2);
    EXPECT_DOUBLE_EQ(rate("blocks.1.down.weight.B"), 0.25 * 1024 / 32 / 2);
    EXPECT_DOUBLE_EQ(rate("head.weight"), 0.25);
    EXPECT_DOUBLE_EQ(rate("norm.weight"), 1);
}

TEST(MlpTest, DropoutActsInTrainingAlone) {
    MlpOptions o = small("dense");
    o.dropout = 0.5;
    const Mlp m = with_parameters(Mlp::random(kKey, o), moved(Mlp::random(kKey, o)));
    const Tensor x = normal(1, {5, 12});
    EXPECT_EQ(m(x).to<double>(), m(x).to<double>());
    EXPECT_EQ(m(x, random::Key(1)).to<double>(), m(x, random::Key(1)).to<double>());
    EXPECT_NE(m(x, random::Key(1)).to<double>(), m(x, random::Key(2)).to<double>());
    EXPECT_NE(m(x, random::Key(1)).to<double>(), m(x).to<double>());
}

TEST(MlpTest, BadOptionsAreErrors) {
    EXPECT_THROW(Mlp::random(kKey, {.width = 0}), ShapeError);
    EXPECT_THROW(Mlp::random(kKey, {.width = 5, .structure = "btt"}), ShapeError);
    EXPECT_THROW(Mlp::random(kKey, {.depth = -1}), ValueError);
    EXPECT_THROW(Mlp::random(kKey, {.structure = "sparse"}), ValueError);
    EXPECT_THROW(Mlp::random(kKey, {.structure = "btt", .rank = 0}), ValueError);
    EXPECT_THROW(Mlp::random(kKey, {.dropout = 1}), ValueError);
    EXPECT_THROW(Mlp::random(kKey, {})(normal(1, {2, 3})), ShapeError);
}

}  // namespace
}  // namespace tenon::nn
