// Factorizations, parameter and multiply-add counts, initialisation and learning rates of random maps.
#include "map/testing.h"
#include "tenon/error.h"

namespace tenon::map::testing {
namespace {

using Factors = std::array<std::int64_t, 2>;

const tenon::random::Key kKey(7);

// Counts without the arrays: nothing is computed until it is read.
Cost count(const char* structure, std::int64_t out, std::int64_t in, const Options& o = {}) {
    return random(structure, kKey, out, in, o).cost();
}

TEST(FactorizeTest, GreedyWhereBalancedEnough) {
    EXPECT_EQ(factorize(3072), (Factors{32, 96}));
    EXPECT_EQ(factorize(1024), (Factors{32, 32}));
    EXPECT_EQ(factorize(128), (Factors{8, 16}));
    EXPECT_EQ(factorize(784), (Factors{28, 28}));
    EXPECT_EQ(factorize(1), (Factors{1, 1}));
    EXPECT_EQ(factorize(10), (Factors{2, 5}));
}

TEST(FactorizeTest, BalancedWhereGreedyIsPoor) { EXPECT_EQ(factorize(11008), (Factors{86, 128})); }

TEST(FactorizeTest, PaddedWhereNothingDivides) {
    EXPECT_EQ(factorize(10007), (Factors{101, 101}));
    EXPECT_EQ(factorize(37), (Factors{6, 7}));
    EXPECT_EQ(factorize(11), (Factors{3, 4}));
    EXPECT_EQ(factorize(13), (Factors{2, 7}));
}

TEST(FactorizeTest, EveryWidthIsSplitWellOrRefused) {
    for (std::int64_t n = 1; n < 5000; ++n) {
        Factors f{};
        try {
            f = factorize(n);
        } catch (const ShapeError&) {
            EXPECT_EQ(n, 5);
            continue;
        }
        EXPECT_GE(f[0] * f[1], n);
        EXPECT_LE(100 * (f[0] * f[1] - n), 15 * n) << n;
        EXPECT_LE(f[0], f[1]);
        EXPECT_LE(f[1], 4 * f[0]) << n;
    }
    EXPECT_THROW(factorize(0), ShapeError);
    EXPECT_THROW(factorize(-4), ShapeError);
    EXPECT_THROW(factorize(std::int64_t{1} << 40), ShapeError);
}

struct Count {
    const char* structure;
    std::int64_t d;
    std::optional<std::int64_t> rank;
    std::int64_t parameters, multiply_adds;
};

// One d x d layer, by the counts of tenon/map.h.
TEST(CountsTest, OneLayer) {
    const Count counts[] = {{"dense", 1024, {}, 1048576, 1048576},      {"btt", 1024, 1, 65536, 65536},
                            {"btt", 1024, 2, 131072, 131072},           {"btt", 1024, 4, 262144, 262144},
                            {"low-rank", 1024, {}, 65536, 65536},       {"kronecker", 1024, {}, 2048, 65536},
                            {"tensor-train", 1024, 16, 32768, 1048576}, {"monarch", 1024, {}, 524288, 524288},
                            {"dense", 4096, {}, 16777216, 16777216},    {"btt", 4096, 1, 524288, 524288},
                            {"kronecker", 4096, {}, 8192, 524288},      {"monarch", 4096, {}, 8388608, 8388608}};
    for (const Count& c : counts) {
        const Cost cost = count(c.structure, c.d, c.d, {.rank = c.rank});
        EXPECT_EQ(cost.parameters, c.parameters) << c.structure << " " << c.d;
        EXPECT_EQ(cost.multiply_adds, c.multiply_adds) << c.structure << " " << c.d;
    }
}

// Counted over what it records: a multiply-add of a product is one, as in the maps that count by themselves.
TEST(CountsTest, ByDefaultAProductsAreThoseOfItsMatrix) {
    class Product final : public Structure {
      public:
        std::string name() const override { return "Product"; }
        Shape shape() const override { return {5, 3}; }
        Tensor apply(const Tree& p, const Tensor& x) const override { return matmul(x, p.tensor()); }
    };
    const LinearMap map(std::make_shared<Product>(), Tree(ones({3, 5})));
    EXPECT_EQ(map.cost(7).multiply_adds, 7 * 3 * 5);
}

TEST(CountsTest, BytesAreInputOutputParametersAndTheIntermediateTwice) {
    EXPECT_EQ(count("btt", 1024, 1024).bytes, 4 * (2 * 1024 + 65536 + 2 * 1024));
    EXPECT_EQ(count("dense", 10, 20, {.dtype = DType::float64}).bytes, 8 * (30 + 200));
    EXPECT_EQ(count("dense", 10, 20, {.dtype = DType::bfloat16}).bytes, 2 * (30 + 200));
}

TEST(OptionsTest, ExplicitFactorsAreTaken) {
    const Options o{.in_factors = Factors{16, 64}, .out_factors = Factors{8, 128}};
    EXPECT_EQ(count("btt", 1024, 1024, o).multiply_adds, 64 * 8 * (16 + 128));
    EXPECT_THROW(count("btt", 1024, 1024, {.in_factors = Factors{16, 32}}), ShapeError);
    EXPECT_THROW(count("btt", 1024, 1024, {.in_factors = Factors{64, 32}}), ShapeError);
    EXPECT_THROW(count("btt", 1024, 1024, {.in_factors = Factors{-32, -32}}), ShapeError);
}

TEST(OptionsTest, BadOnesAreErrors) {
    EXPECT_THROW(count("btt", 16, 16, {.rank = 0}), ValueError);
    EXPECT_THROW(count("low-rank", 16, 16, {.rank = -1}), ValueError);
    EXPECT_THROW(count("dense", 16, 16, {.rank = 2}), ValueError);
    EXPECT_THROW(count("kronecker", 16, 16, {.rank = 2}), ValueError);
    EXPECT_THROW(count("btt", 16, 16, {.blocks = 2}), ValueError);
    EXPECT_THROW(count("monarch", 16, 16, {.blocks = 0}), ValueError);
    EXPECT_THROW(count("monarch", 3, 16), ShapeError);
    EXPECT_THROW(count("monarch", 16, 9), ShapeError);  // 12 is 33 % above 9
    EXPECT_THROW(count("btt", 5, 16), ShapeError);
    EXPECT_THROW(count("dense", 0, 16), ShapeError);
    EXPECT_THROW(count("dense", 16, -1), ShapeError);
    EXPECT_THROW(Diagonal::random(kKey, 3, 4), ShapeError);
    EXPECT_THROW(count("toeplitz", 16, 16), ValueError);
    EXPECT_THROW(count("btt", 16, 16, {.rank = 1000}), ValueError);
    EXPECT_THROW(count("low-rank", 16, 16, {.rank = 17}), ValueError);
    EXPECT_THROW(count("tensor-train", 16, 16, {.rank = 17}), ValueError);
    EXPECT_EQ(count("tensor-train", 8, 8).parameters, 4 * (2 * 2 + 4 * 4));  // the default is cut
    try {
        count("btt", 5, 16);
        FAIL();
    } catch (const ShapeError& e) {
        EXPECT_NE(std::string(e.what()).find("BlockTensorTrain of 16 inputs and 5 outputs"), std::string::npos)
            << e.what();
    }
}

TEST(OptionsTest, TheDtypeIsThatOfTheParameters) {
    for (const DType t : {DType::bfloat16, DType::float64}) {
        const LinearMap m = random("btt", kKey, 16, 16, {.dtype = t});
        for (const Tensor& p : m.parameters().leaves()) EXPECT_EQ(p.dtype(), t);
    }
}

double deviation(const Tensor& t) { return std::sqrt(mean(square(astype(t, DType::float64))).item<double>()); }

TEST(InitialisationTest, EachCoreIsNormalInItsOwnSizes) {
    const LinearMap m = BlockTensorTrain::random(kKey, 1024, 4096, {.rank = 4});
    // A: alpha = 64 inputs, phi rho = 128 outputs; B: gamma rho = 256 inputs, epsilon = 32 outputs.
    EXPECT_NEAR(deviation(m.parameters()["A"].tensor()) / (std::sqrt(64.0) / 64), 1, 0.02);
    EXPECT_NEAR(deviation(m.parameters()["B"].tensor()) / (std::sqrt(32.0) / 256), 1, 0.02);
    EXPECT_NEAR(deviation(Dense::random(kKey, 512, 256).to_dense()) / (1 / 16.0), 1, 0.02);
    EXPECT_NEAR(deviation(Dense::random(kKey, 128, 512).to_dense()) / (std::sqrt(128.0) / 512), 1, 0.02);
}

TEST(InitialisationTest, EveryStructuresCoresHaveTheirDeviations) {
    const auto check = [](const LinearMap& m, double a, double b) {
        const Tensor first = m.parameters()["A"].tensor(), last = m.parameters()["B"].tensor();
        EXPECT_NEAR(deviation(first) / a, 1, 0.03) << m.structure().name();
        EXPECT_NEAR(deviation(last) / b, 1, 0.03) << m.structure().name();
    };
    const auto sigma = [](double out, double in) { return std::sqrt(std::min(out, in)) / in; };
    const Options factors{.in_factors = Factors{64, 128}, .out_factors = Factors{32, 256}};
    Options rank3 = factors;
    rank3.rank = 3;
    // A: delta rho outputs of alpha; B: epsilon outputs of beta rho.
    check(Kronecker::random(kKey, 8192, 8192, factors), sigma(32, 64), sigma(256, 128));
    check(TensorTrain::random(kKey, 8192, 8192, rank3), sigma(96, 64), sigma(256, 384));
    check(LowRank::random(kKey, 600, 2000, {.rank = 5}), sigma(5, 2000), sigma(600, 5));
    const Theta t{.alpha = 16, .beta = 8, .gamma = 4, .delta = 8, .epsilon = 32, .phi = 2, .rho = 2};
    check(TwoFactor::random(kKey, t, 512, 512), sigma(32, 16), sigma(32, 64));
}

TEST(InitialisationTest, CoresOfOneShapeDiffer) {
    for (const LinearMap& m : {Kronecker::random(kKey, 64, 64), TensorTrain::random(kKey, 64, 64),
                               BlockTensorTrain::random(kKey, 64, 64), LowRank::random(kKey, 64, 64)})
        EXPECT_NE(m.parameters()["A"].tensor().to<float>(), m.parameters()["B"].tensor().to<float>())
            << m.structure().name();
}

TEST(InitialisationTest, ZeroLastLeavesTheFirstCore) {
    const LinearMap m = random("btt", kKey, 64, 64, {.zero_last = true});
    EXPECT_EQ(deviation(m.to_dense()), 0);
    EXPECT_GT(deviation(m.parameters()["A"].tensor()), 0);
    EXPECT_EQ(deviation(random("dense", kKey, 64, 64, {.zero_last = true}).to_dense()), 0);
}

TEST(InitialisationTest, TheKeyDecides) {
    const auto w = [](std::uint64_t seed) {
        return random("btt", tenon::random::Key(seed), 16, 16).to_dense().to<float>();
    };
    EXPECT_EQ(w(1), w(1));
    EXPECT_NE(w(1), w(2));
}

std::vector<double> rates(const LinearMap& m, RateRule rule = RateRule::adam) {
    std::vector<double> all;
    for (const Tensor& t : m.learning_rates(rule).leaves()) all.push_back(t.item<double>());
    return all;
}

TEST(LearningRatesTest, FollowEachCoresInputs) {
    const auto of = [](const char* name, std::optional<std::int64_t> rank) {
        return rates(random(name, kKey, 1024, 1024, {.rank = rank}));
    };
    EXPECT_EQ(of("dense", {}), (std::vector<double>{1}));
    EXPECT_EQ(of("btt", 2), (std::vector<double>{32.0 / 2, 32.0 / 4}));
    EXPECT_EQ(of("low-rank", {}), (std::vector<double>{0.5, 1024.0 / 64}));
    EXPECT_EQ(of("kronecker", {}), (std::vector<double>{16, 16}));
    EXPECT_EQ(rates(Diagonal::random(kKey, 8, 8)), (std::vector<double>{1}));
    // A composition has the cores of both: here three.
    const LinearMap m = Dense::random(kKey, 8, 64) * BlockTensorTrain::random(kKey, 64, 64);
    EXPECT_EQ(rates(m), (std::vector<double>{1.0 / 3, 8.0 / 3, 8.0 / 3}));
}

TEST(LearningRatesTest, OfAnAdjointAndOfAScaledMap) {
    // The adjoint sees B first: its 256 inputs are epsilon of B's outputs.
    const LinearMap m = BlockTensorTrain::random(kKey, 256, 1024, {.rank = 2});
    EXPECT_EQ(rates(m), (std::vector<double>{1024.0 / 32 / 2, 1024.0 / 64 / 2}));
    EXPECT_EQ(rates(m.adjoint()), (std::vector<double>{256.0 / 32 / 2, 256.0 / 16 / 2}));
    EXPECT_EQ(rates(-4.0 * m), (std::vector<double>{1024.0 / 32 / 8, 1024.0 / 64 / 8}));
    EXPECT_EQ(rates(2.0 * m, RateRule::sgd)[0], rates(m, RateRule::sgd)[0] / 4);
    EXPECT_EQ(rates(0.0 * m), rates(m));
}

TEST(LearningRatesTest, ForSgd) {
    const auto sgd = [](const LinearMap& m) { return rates(m, RateRule::sgd); };
    EXPECT_EQ(sgd(Dense::random(kKey, 8, 64)), (std::vector<double>{1}));
    // A: 16 * 2 outputs of 32, B: 16 outputs of 32 * 2; the map 256 of 1024.
    const LinearMap m = BlockTensorTrain::random(kKey, 256, 1024, {.rank = 2});
    EXPECT_EQ(sgd(m), (std::vector<double>{(32.0 / 32) / (256.0 / 1024) / 2, (16.0 / 64) / (256.0 / 1024) / 2}));
    const LinearMap both = Dense::random(kKey, 8, 64) * BlockTensorTrain::random(kKey, 64, 64);
    EXPECT_EQ(sgd(both), (std::vector<double>{1.0 / 3, 8.0 / 3, 8.0 / 3}));
}

TEST(CountsTest, NumbersThatDoNotFitAreErrors) {
    const std::int64_t huge = std::int64_t{1} << 62;
    EXPECT_THROW(Dense::random(kKey, 8, 8).cost(huge), ValueError);
    EXPECT_THROW(WalshHadamard::of(huge + 1, 1), ShapeError);
    EXPECT_THROW(WalshHadamard::of(16, 16).cost(huge), ValueError);
    const std::int64_t wide = std::int64_t{1} << 32;
    const auto expect = [](const char* named, const auto& call) {
        try {
            call();
            ADD_FAILURE() << named;
        } catch (const ShapeError& e) {
            EXPECT_NE(std::string(e.what()).find("63 bits"), std::string::npos) << e.what();
            EXPECT_EQ(std::string(e.what()).find(named), 0u) << e.what();
        }
    };
    expect("TwoFactor", [&] { TwoFactor("TwoFactor", {.alpha = wide, .beta = wide}, 1, 16); });
    const Tensor tall = broadcast_to(ones({1, 1}), {wide, 2});
    expect("Kronecker", [&] { Kronecker::from(tall, tall); });  // 2^64 outputs
}

TEST(CountsTest, AScaledMapMultipliesItsOutputs) {
    const LinearMap m = Dense::random(kKey, 8, 16);
    EXPECT_EQ((2.0 * m).cost(3).multiply_adds, m.cost(3).multiply_adds + 3 * 8);
    EXPECT_EQ((2.0 * m).cost(3).parameters, m.cost(3).parameters);
}

}  // namespace
}  // namespace tenon::map::testing
