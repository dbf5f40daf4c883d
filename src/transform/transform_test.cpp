// The transforms beyond single primitives: composition, order, closures, checkpoints, custom rules, errors.
#include "tenon/transform.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

Tensor vec(std::initializer_list<double> v) { return Tensor::from<double>(v); }

TEST(Grad, OfAProductSum) {
    const auto f = [](const Tensor& x, const Tensor& w) { return reduce_sum(x * x * w, {0}); };
    const auto [loss, g] = value_and_grad(f)(vec({1, 2, 3}), vec({4, 5, 6}));
    EXPECT_EQ(loss.item<double>(), 4 + 20 + 54);
    EXPECT_EQ(g.to<double>(), (std::vector<double>{8, 20, 36}));
}

TEST(Grad, OfATreeKeepsItsNames) {
    Tree p;
    p.set("w", Tree(vec({1, 2})));
    p.set("b", Tree(vec({3, 4})));
    const auto g = grad([](const Tree& t, const Tensor& x) {
        return reduce_sum(t["w"].tensor() * x + t["b"].tensor(), {0});
    })(p, vec({5, 6}));
    EXPECT_EQ(g["w"].tensor().template to<double>(), (std::vector<double>{5, 6}));
    EXPECT_EQ(g["b"].tensor().template to<double>(), (std::vector<double>{1, 1}));
}

TEST(Grad, OnlyTheArgumentVaries) {
    const Tensor x = vec({3});
    // The closure's x is a constant, though it is the same tensor.
    const auto g = grad([&](const Tensor& t) { return reduce_sum(t * x, {0}); })(x);
    EXPECT_EQ(g.item<double>(), 3);
}

TEST(Grad, OfHigherOrder) {
    const auto f = [](const Tensor& x) { return reduce_sum(x * x * x * x, {0}); };
    const auto second = [&](const Tensor& x) { return reduce_sum(grad(f)(x), {0}); };
    const auto third = [&](const Tensor& x) { return reduce_sum(grad(second)(x), {0}); };
    EXPECT_EQ(grad(second)(vec({2})).item<double>(), 12 * 4);
    EXPECT_EQ(grad(third)(vec({2})).item<double>(), 24 * 2);
}

TEST(Grad, ReadingAValueInsideTheFunctionChangesNothing) {
    const auto f = [](const Tensor& x) {
        const Tensor y = x * x;
        EXPECT_EQ(y.to<double>()[0], 9);
        return reduce_sum(y * x, {0});
    };
    EXPECT_EQ(grad(f)(vec({3})).item<double>(), 27);
}

TEST(Grad, OfIndependentAndIntegerArgumentsIsZero) {
    Tree p;
    p.set("unused", Tree(vec({1, 2})));
    p.set("index", Tree(Tensor::from<std::int64_t>({1})));
    p.set("x", Tree(vec({5, 7})));
    const auto g = grad([](const Tree& t) { return reduce_sum(gather(t["x"].tensor(), t["index"].tensor()), {0}); })(p);
    EXPECT_EQ(g["unused"].tensor().template to<double>(), (std::vector<double>{0, 0}));
    EXPECT_EQ(g["index"].tensor().dtype(), DType::int64);
    EXPECT_EQ(g["x"].tensor().template to<double>(), (std::vector<double>{0, 1}));
}

TEST(Grad, RefusesWhatHasNoGradient) {
    EXPECT_THROW(grad([](const Tensor& x) { return x; })(vec({1, 2})), ShapeError);
    EXPECT_THROW(grad([](const Tensor& x) { return astype(reduce_sum(x, {0}), DType::int32); })(vec({1, 2})),
                 TypeError);
}

TEST(Vjp, StructuresMustAgree) {
    const auto [y, pullback] = vjp([](const Tree& t) { return Tree(t.tensor() * 2); }, Tree(vec({1, 2})));
    EXPECT_EQ(pullback(Tree(vec({1, 10}))).tensor().to<double>(), (std::vector<double>{2, 20}));
    EXPECT_THROW(pullback(Tree(vec({1}))), ShapeError);
    EXPECT_THROW(jvp([](const Tree& t) { return t; }, Tree(vec({1})), Tree()), ValueError);
}

TEST(Jacobian, OfAMap) {
    const Tensor j = jacobian([](const Tensor& x) { return x * x[0]; }, vec({2, 3}));
    EXPECT_EQ(j.shape(), Shape({2, 2}));
    EXPECT_EQ(j.to<double>(), (std::vector<double>{4, 0, 3, 2}));
}

TEST(Hessian, VectorProduct) {
    // f = x0^2 x1: H = [[2 x1, 2 x0], [2 x0, 0]].
    const auto f = [](const Tree& t) {
        const Tensor& x = t.tensor();
        return x[0] * x[0] * x[1];
    };
    EXPECT_EQ(hessian_vector_product(f, Tree(vec({2, 3})), Tree(vec({1, 10}))).tensor().to<double>(),
              (std::vector<double>{6 + 40, 4}));
}

TEST(Checkpoint, GivesTheSameBitsAndRecomputes) {
    int recorded = 0;
    const auto f = [&](const Tree& t) {
        ++recorded;
        return Tree(sin(exp(t.tensor()) * t.tensor()));
    };
    const auto loss = [](const TreeFunction& g) {
        return [g](const Tensor& x) { return reduce_sum(g(g(Tree(x))).tensor(), {0}); };
    };
    const Tensor x = vec({0.3, -0.7});
    const auto plain = value_and_grad(loss(f))(x), saved = value_and_grad(loss(checkpoint(f)))(x);
    EXPECT_EQ(plain.first.item<double>(), saved.first.item<double>());
    EXPECT_EQ(plain.second.to<double>(), saved.second.to<double>());
    EXPECT_EQ(recorded, 4) << "the function itself runs once a call";
    const auto second = [&](const TreeFunction& g) {
        return grad([&](const Tensor& y) { return reduce_sum(grad(loss(g))(y), {0}); })(x).to<double>();
    };
    const auto a = second(f), b = second(checkpoint(f));  // the same terms, summed in another order
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-14 * std::fabs(a[i]));
}

TEST(Custom, RulesReplaceTheGraphs) {
    const auto doubled =
        custom_vjp([](auto args) { return args[0] * args[0]; },
                   [](auto args, const Tensor&, const Tensor& ct) { return std::vector<Tensor>{ct * args[0] * 100}; });
    const auto f = [&](const Tensor& x) { return reduce_sum(doubled(std::vector<Tensor>{x}), {0}); };
    EXPECT_EQ(grad(f)(vec({3})).item<double>(), 300);
    EXPECT_THROW(
        jvp([&](const Tree& t) { return Tree(f(t.tensor())); }, Tree(vec({3})), Tree(vec({1}))).second.tensor().eval(),
        ValueError);

    const auto own = custom_jvp([](auto args) { return args[0] * args[0]; },
                                [](auto args, const Tensor&, auto d) { return d[0] * args[0] * 7; });
    const auto g = [&](const Tensor& x) { return reduce_sum(own(std::vector<Tensor>{x}), {0}); };
    EXPECT_EQ(grad(g)(vec({3})).item<double>(), 21);
    EXPECT_EQ(jvp([&](const Tree& t) { return Tree(g(t.tensor())); }, Tree(vec({3})), Tree(vec({2})))
                  .second.tensor()
                  .item<double>(),
              42);
}

TEST(Scan, CarriesStacksAndDifferentiates) {
    const auto step = [](const Tree& c, const Tree& x) {
        const Tensor next = c.tensor() * x.tensor() + 1;
        return std::pair<Tree, Tree>(next, next * 2);
    };
    const auto [last, ys] = scan(step, Tree(Tensor(0.0) + vec({1})[0]), Tree(vec({2, 3, 4})));
    EXPECT_EQ(last.tensor().item<double>(), ((1 * 2 + 1) * 3 + 1) * 4 + 1);
    EXPECT_EQ(ys.tensor().to<double>(), (std::vector<double>{6, 20, 82}));
    const auto g =
        grad([&](const Tensor& x) { return scan(step, Tree(vec({1})[0]), Tree(x)).first.tensor(); })(vec({2, 3, 4}));
    EXPECT_EQ(g.to<double>(), (std::vector<double>{12, 12, 10}));
    EXPECT_THROW(scan(step, Tree(vec({1})[0]), Tree()), ValueError);
    const auto grows = [](const Tree& c, const Tree&) {
        return std::pair<Tree, Tree>(concat(std::vector<Tensor>{c.tensor(), c.tensor()}), Tree());
    };
    EXPECT_THROW(scan(grows, Tree(vec({1})), Tree(), 2), ShapeError);
}

TEST(StopGradient, IsAConstant) {
    EXPECT_EQ(grad([](const Tensor& x) { return reduce_sum(x * stop_gradient(x), {0}); })(vec({5})).item<double>(), 5);
}

}  // namespace
}  // namespace tenon
