// Every linear map against its own matrix: product, adjoint, diagonal, derivative, cost.
#include "map/testing.h"
#include "tenon/error.h"
#include "tenon/linalg.h"
#include "tenon/transform.h"

namespace tenon::map::testing {
namespace {

class Maps : public ::testing::TestWithParam<Case> {
  protected:
    const LinearMap& m() const { return GetParam().map; }
};

double dot(const Tensor& a, const Tensor& b) { return sum(a * b).item<double>(); }

TEST_P(Maps, DenseEqualsTheProduct) {
    const Tensor x = normal(100, {2, 3, m().in()});
    const Tensor w = m().to_dense();
    ASSERT_EQ(w.shape(), (Shape{m().out(), m().in()}));
    EXPECT_LT(distance(m()(x), matmul(x, matrix_transpose(w))), 1e-14);
    EXPECT_LT(distance(m()(x.at({1, 2})), m()(x).at({1, 2})), 1e-15);
}

TEST_P(Maps, AdjointPassesTheDotTest) {
    const LinearMap t = m().adjoint();
    ASSERT_EQ(t.shape(), (Shape{m().in(), m().out()}));
    const Tensor x = normal(101, {5, m().in()}), y = normal(102, {5, m().out()});
    const double left = dot(m()(x), y), right = dot(x, t(y));
    EXPECT_NEAR(left, right, 1e-12 * (1 + std::abs(left)));
    EXPECT_LT(distance(t.to_dense(), matrix_transpose(m().to_dense())), 1e-14);
    EXPECT_LT(distance(t.adjoint()(x), m()(x)), 1e-14);
}

TEST_P(Maps, DiagonalIsThatOfTheMatrix) {
    const std::int64_t n = std::min(m().in(), m().out());
    const auto d = m().diagonal().to<double>(), w = m().to_dense().to<double>();
    ASSERT_EQ(d.size(), static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i)
        EXPECT_NEAR(d[static_cast<std::size_t>(i)], w[static_cast<std::size_t>(i * m().in() + i)], 1e-13);
}

// Central differences of f along each direction of a leaf, for a few elements.
TEST_P(Maps, GradientsOfParametersEqualFiniteDifferences) {
    const Tensor x = normal(103, {4, m().in()}), y = normal(104, {4, m().out()});
    const auto f = [&](const Tree& p) { return sum(tanh(m().with_parameters(p)(x)) * y); };
    const std::vector<Tensor> leaves = m().parameters().leaves();
    if (leaves.empty()) return;
    const Tree grads = value_and_grad(f)(m().parameters()).second;
    const std::vector<Tensor> g = grads.leaves();
    constexpr double kStep = 1e-5;
    for (std::size_t l = 0; l < leaves.size(); ++l) {
        const Tensor direction = normal(105 + l, leaves[l].shape());
        const auto moved = [&](double h) {
            std::vector<Tensor> at = leaves;
            at[l] = at[l] + direction * h;
            return f(m().parameters().with_leaves(at)).item<double>();
        };
        const double difference = (moved(kStep) - moved(-kStep)) / (2 * kStep);
        EXPECT_NEAR(dot(g[l], direction), difference, 1e-6 * (1 + std::abs(difference))) << "leaf " << l;
    }
}

TEST_P(Maps, GradientOfTheInputIsTheAdjoint) {
    const Tensor x = normal(106, {4, m().in()}), y = normal(107, {4, m().out()});
    const Tensor g = grad([&](const Tensor& at) { return sum(m()(at) * y); })(x);
    EXPECT_LT(distance(g, m().adjoint()(y)), 1e-13);
}

TEST_P(Maps, CostAndRankAreConsistent) {
    const Cost one = m().cost(1), many = m().cost(10);
    std::int64_t elements = 0;
    for (const Tensor& t : m().parameters().leaves()) elements += t.size();
    EXPECT_EQ(one.parameters, elements);
    EXPECT_GT(one.multiply_adds, 0);
    EXPECT_LE(many.multiply_adds, 10 * one.multiply_adds);
    EXPECT_GT(many.bytes, one.bytes);
    EXPECT_GE(m().rank_bound(), 1);
    EXPECT_LE(m().rank_bound(), std::min(m().in(), m().out()));
    EXPECT_NE(m().describe().find(std::to_string(one.parameters) + " parameters"), std::string::npos);
    EXPECT_EQ(m().learning_rates().leaves().size(), m().parameters().leaves().size());
}

TEST_P(Maps, WrongWidthsAreShapeErrors) {
    EXPECT_THROW(m()(normal(1, {2, m().in() + 1})), ShapeError);
    EXPECT_THROW(m()(Tensor(1.0)), ShapeError);
    EXPECT_THROW(m()(Tensor()), ValueError);
    Tree extra = m().parameters().is_leaf() ? Tree() : m().parameters();
    extra.set("extra", Tensor(1.0));
    EXPECT_THROW(m().with_parameters(extra), ShapeError);
    if (m().parameters().leaves().empty()) return;
    const Tree whole = m().parameters().map([](const Tensor& t) { return astype(t, DType::int8); });
    EXPECT_THROW(m().with_parameters(whole), TypeError);
    try {
        m()(zeros({2, m().in()}, DType::int32));
        FAIL();
    } catch (const TypeError& e) {
        const std::string what = e.what();
        EXPECT_EQ(what.find(m().structure().name()), 0u) << what;
        EXPECT_NE(what.find("int32"), std::string::npos) << what;
    }
}

INSTANTIATE_TEST_SUITE_P(All, Maps, ::testing::ValuesIn(cases()), name_of);

TEST(WalshHadamardTest, IsTheOrthonormalTransform) {
    const double h = 0.5;
    EXPECT_EQ(WalshHadamard::of(4, 4).to_dense().to<double>(),
              (std::vector<double>{h, h, h, h, h, -h, h, -h, h, h, -h, -h, h, -h, -h, h}));
    const LinearMap m = WalshHadamard::of(64, 64);
    const Tensor x = normal(1, {3, 64});
    EXPECT_LT(distance(m(m(x)), x), 1e-14);
    EXPECT_EQ(m.cost(2).multiply_adds, 2 * 64 * 6);
    EXPECT_EQ(m.cost().parameters, 0);
}

TEST(TwoFactorTest, KroneckerIsTheStandardProduct) {
    const Tensor left = normal(1, {2, 3}), right = normal(2, {4, 5});
    const Tensor w = reshape(reshape(left, {2, 1, 3, 1}) * reshape(right, {1, 4, 1, 5}), {8, 15});
    EXPECT_LT(distance(Kronecker::from(left, right).to_dense(), w), 1e-15);
}

TEST(TwoFactorTest, LowRankIsTheProductOfItsFactors) {
    const Tensor u = normal(1, {6, 2}), v = normal(2, {2, 5});
    EXPECT_LT(distance(LowRank::from(u, v).to_dense(), matmul(u, v)), 1e-15);
    EXPECT_EQ(LowRank::from(u, v).rank_bound(), 2);
}

TEST(TwoFactorTest, BlockTensorTrainHasBlocksOfItsRank) {
    const LinearMap m = BlockTensorTrain::random(tenon::random::Key(1), 12, 18, {.dtype = DType::float64});
    // 2 x 6 of 12 and 3 x 6 of 18: blocks of 6 x 3 on a grid of 2 x 6, each of rank 1.
    const Tensor w = reshape(m.to_dense(), {2, 6, 6, 3});
    for (int f = 0; f < 2; ++f)
        for (int g = 0; g < 6; ++g) {
            const Tensor block = w.at({f, Slice{}, g, Slice{}});
            const Tensor minors = outer(reshape(block, {18}), reshape(block, {18}));
            const Tensor m4 = reshape(minors, {6, 3, 6, 3});
            EXPECT_LT(max(abs(m4 - transpose(m4, {0, 3, 2, 1}))).item<double>(), 1e-13);
        }
    EXPECT_EQ(m.cost().parameters, 2 * 6 * (3 + 6));
}

TEST(TwoFactorTest, TheFormulaHoldsForAnyTheta) {
    const Theta t{.alpha = 2, .beta = 3, .gamma = 2, .delta = 2, .epsilon = 3, .phi = 2, .rho = 2};
    const Tensor a = normal(1, {t.phi, t.delta, t.rho, t.gamma, t.alpha}),
                 b = normal(2, {t.phi, t.epsilon, t.rho, t.gamma, t.beta});
    const Tensor w = einsum("fdrga,fergb->fedgba", a, b);
    EXPECT_LT(distance(TwoFactor::from(a, b).to_dense(), reshape(w, {12, 12})), 1e-15);
}

TEST(TwoFactorTest, AxesHoldTheWidthsAndExceedThemBy15PercentAtMost) {
    const auto make = [](std::int64_t alpha, std::int64_t epsilon) {
        TwoFactor("map", {.alpha = alpha, .epsilon = epsilon}, 100, 100);
    };
    for (const std::int64_t axis : {100, 115}) EXPECT_NO_THROW(make(axis, axis)) << axis;
    for (const std::int64_t axis : {99, 116}) {
        EXPECT_THROW(make(axis, 100), ShapeError) << axis;
        EXPECT_THROW(make(100, axis), ShapeError) << axis;
    }
}

TEST(DenseTest, FromChecksShapes) {
    EXPECT_THROW(Dense::from(normal(1, {2, 3, 4})), ShapeError);
    EXPECT_THROW(Diagonal::from(normal(1, {2, 3})), ShapeError);
    EXPECT_THROW(TwoFactor::from(normal(1, {2, 3}), normal(1, {2, 3})), ShapeError);
}

template <class E, class F>
std::string message_of(const F& f) {
    try {
        f();
    } catch (const E& e) {
        return e.what();
    }
    return "no error";
}

TEST(TwoFactorTest, FactorsThatDoNotFitAreShownAsTheyWereGiven) {
    const auto says = [](LinearMap (*from)(const Tensor&, const Tensor&), const Shape& a, const Shape& b) {
        return message_of<ShapeError>([&] { from(zeros(a), zeros(b)); });
    };
    EXPECT_EQ(says(LowRank::from, {2, 3}, {4, 5}),
              "LowRank: factors of shapes (2, 3) and (4, 5) are not (out, k) and (k, in)");
    EXPECT_EQ(says(Kronecker::from, {2, 3}, {4}),
              "Kronecker: factors of shapes (2, 3) and (4,) are not (m1, n1) and (m2, n2)");
    EXPECT_EQ(says(TensorTrain::from, {2, 3, 4}, {2, 4, 3}),
              "TensorTrain: factors of shapes (2, 3, 4) and (2, 4, 3) are not (delta, rho, alpha) and "
              "(epsilon, rho, beta)");
    for (const Shape& b : {Shape{3, 5, 1, 4}, Shape{2, 5, 2, 4}, Shape{2, 5, 1, 3}})
        EXPECT_EQ(says(BlockTensorTrain::from, {2, 1, 4, 3}, b),
                  "BlockTensorTrain: factors of shapes (2, 1, 4, 3) and " + to_string(b) +
                      " are not (phi, rho, gamma, alpha) and (phi, epsilon, rho, gamma)");
}

TEST(LinearMapTest, WhatIsNoMapIsAnError) {
    const LinearMap none, some = Dense::from(zeros({2, 3}));
    EXPECT_TRUE(none.parameters().leaves().empty());
    for (const std::function<void()>& use : std::vector<std::function<void()>>{
             [&] {
                 none(zeros({2, 3}));
             },
             [&] { none.shape(); }, [&] { none.adjoint(); }, [&] { none.cost(); }, [&] { none.to_dense(); },
             [&] { none.diagonal(); }, [&] { none.learning_rates(); }, [&] { none.rank_bound(); },
             [&] { none.describe(); }, [&] { none.structure(); }, [&] { none.with_parameters({}); },
             [&] { none* some; }, [&] { some + none; }, [&] { 2 * none; }, [&] { hadamard(none, some); }})
        EXPECT_EQ(message_of<ValueError>(use), "LinearMap: the map is not defined");
}

TEST(LinearMapTest, OtherParametersAreNamed) {
    const LinearMap dense = Dense::from(zeros({2, 3})), factors = LowRank::from(zeros({2, 1}), zeros({1, 3}));
    EXPECT_EQ(message_of<ShapeError>([&] {
                  dense.with_parameters(zeros({3, 2}));
              }),
              "Dense: the parameter is (3, 2), not (2, 3)");
    Tree renamed = factors.parameters();
    EXPECT_EQ(message_of<ShapeError>([&] {
                  factors.with_parameters(Tree({{"A", renamed["A"]}, {"C", renamed["B"]}}));
              }),
              "LowRank: parameter \"C\" is given where parameter \"B\" belongs");
}

TEST(ComposedTest, ShapesMustAgree) {
    const LinearMap a = Dense::from(normal(1, {2, 3})), b = Dense::from(normal(2, {2, 3}));
    EXPECT_THROW(a * b, ShapeError);
    EXPECT_NO_THROW(a * b.adjoint());
    EXPECT_THROW(a + b.transpose(), ShapeError);
    EXPECT_THROW(hadamard(a, b.adjoint()), ShapeError);
}

TEST(ComposedTest, RankBounds) {
    const LinearMap low = LowRank::random(tenon::random::Key(1), 12, 18, {.rank = 2}),
                    dense = Dense::random(tenon::random::Key(2), 12, 18);
    EXPECT_EQ((low * dense.adjoint()).rank_bound(), 2);
    EXPECT_EQ((low + low).rank_bound(), 4);
    EXPECT_EQ(hadamard(low, low).rank_bound(), 4);
    EXPECT_EQ((3.0 * low).rank_bound(), 2);
    EXPECT_EQ((dense + low).rank_bound(), 12);
    // Through Z, and through what applying B first would give.
    const auto two = [](const Theta& t) {
        return TwoFactor::random(tenon::random::Key(3), t, 8, 8, {.dtype = DType::float64});
    };
    for (const Theta& t : {Theta{.alpha = 2, .beta = 4, .delta = 4, .epsilon = 2},
                           Theta{.alpha = 4, .beta = 2, .delta = 2, .epsilon = 4}}) {
        EXPECT_EQ(two(t).rank_bound(), 4);
        EXPECT_EQ(linalg::matrix_rank(two(t).to_dense()).item<int>(), 4);
    }
}

TEST(DescribeTest, NamesTheDefaultsThatCostMore) {
    const std::string plain = Dense::from(normal(1, {2, 3})).describe(), defaults = shift(7).describe();
    EXPECT_EQ(plain.find("by default the transposed derivative"), std::string::npos);
    for (const char* what : {"adjoint: by default", "to_dense: by default", "diagonal: by default", "cost: by default"})
        EXPECT_NE(defaults.find(what), std::string::npos) << what;
    const LinearMap square = Dense::from(normal(1, {3, 3}));
    EXPECT_NE(hadamard(square, square).describe().find("both matrices are formed"), std::string::npos);
    EXPECT_EQ(hadamard(square, square).structure().name(), "Hadamard");
    EXPECT_NE((shift(12) * Dense::from(normal(1, {12, 3}))).describe().find("adjoint: by default"), std::string::npos);
}

}  // namespace
}  // namespace tenon::map::testing
