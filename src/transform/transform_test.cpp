// The transforms beyond single primitives: composition, order, closures, checkpoints, custom rules, errors.
#include "tenon/transform.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "primitive/primitive.h"
#include "schedule/plan.h"
#include "tenon/compile.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"
#include "tenon/random.h"
#include "transform/linear_graph.h"

namespace tenon {
namespace {

Tensor vec(std::initializer_list<double> v) { return Tensor::from<double>(v); }

TEST(Grad, OfAProductSum) {
    const auto f = [](const Tensor& x, const Tensor& w) { return reduce_sum(x * x * w, {0}); };
    const auto [loss, g] = value_and_grad(f)(vec({1, 2, 3}), vec({4, 5, 6}));
    EXPECT_EQ(loss.item<double>(), 4 + 20 + 54);
    EXPECT_EQ(g.to<double>(), (std::vector<double>{8, 20, 36}));
}

TEST(Grad, OfGenericFunctionsAndOfNumbers) {
    const auto square_sum = [](const auto& x) { return reduce_sum(x * x, {0}); };
    EXPECT_EQ(grad(square_sum)(vec({1, 2})).to<double>(), (std::vector<double>{2, 4}));
    const auto [value, slope] =
        value_and_grad([](const auto& x, const auto& w) { return x * x * w; })(3.0, vec({2})[0]);
    EXPECT_EQ(value.item<double>(), 18);
    EXPECT_EQ(slope.item<double>(), 12);
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

TEST(Grad, OfArgumentsThatAreNotFloatingIsZeroEvenThroughACast) {
    const auto f = [](const Tensor& x) { return reduce_sum(astype(x, DType::float64) * 2, {0}); };
    EXPECT_EQ(grad(f)(Tensor::from<std::int64_t>({1, 2})).to<double>(), (std::vector<double>{0, 0}));
    EXPECT_EQ(grad(f)(Tensor::from<bool>({true, true})).to<double>(), (std::vector<double>{0, 0}));
    const Tree x(Tensor::from<std::int64_t>({1, 2})), dx(vec({1, 1}));
    const auto cast = [](const Tree& t) { return Tree(astype(t.tensor(), DType::float64)); };
    EXPECT_EQ(jvp(cast, x, dx).second.tensor().to<double>(), (std::vector<double>{0, 0}));
    EXPECT_EQ(linearize(cast, x).tangent(dx).tensor().to<double>(), (std::vector<double>{0, 0}));
    EXPECT_EQ(jvp([](const Tree& t) { return t; }, x, x).second.tensor().to<double>(), (std::vector<double>{0, 0}));
}

// Each step takes the last one's parameters as they are, pending: a walk through their history would make 20,000 steps
// take hours.
TEST(Grad, DoesNotWalkTheHistoryOfItsArguments) {
    Tensor w = vec({1});
    const auto loss = [](const Tensor& x) { return reduce_sum(x * x, {0}); };
    for (int step = 0; step < 20'000; ++step) w = w - 1e-4 * grad(loss)(w);
    EXPECT_NEAR(w.item<double>(), std::pow(1 - 2e-4, 20'000), 1e-10);
}

/// How often a primitive stands below the tensors.
std::size_t count_below(std::string_view primitive, const Tensor& out, const Tensor& x) {
    std::size_t found = 0;
    for (const Node* n : transform::between({&x, 1}, {&out, 1})) found += n->primitive->name == primitive;
    return found;
}

TEST(Grad, OfNeighbouringSlicesIsOneConcatenation) {
    const auto check = [](const auto& f, std::size_t concatenations, std::size_t pads, std::vector<double> expected) {
        const Tensor w = vec({1}), x = vec({1, 2, 3, 4, 5, 6});
        const Tensor g = grad([&](const Tensor& v, const Tensor& s) { return reduce_sum(f(v) * s, {0}); })(x, w);
        // What is looked at depends on w alone.
        EXPECT_EQ(count_below("concatenate", g, w), concatenations);
        EXPECT_EQ(count_below("pad", g, w), pads);
        EXPECT_EQ(g.to<double>(), expected);
    };
    const auto part = [](const Tensor& v, std::int64_t from, std::int64_t to) { return slice(v, {from}, {to}, {1}); };
    // In any order; the whole is not padded, a part is padded once; those apart or on each other are added.
    check([&](const Tensor& v) { return part(v, 4, 6) * 3.0 + part(v, 0, 2) + part(v, 2, 4) * 2.0; }, 1, 0,
          {1, 1, 2, 2, 3, 3});
    check([&](const Tensor& v) { return part(v, 1, 3) + part(v, 3, 5) * 2.0; }, 1, 1, {0, 1, 1, 2, 2, 0});
    check([&](const Tensor& v) { return part(v, 0, 2) + part(v, 4, 6) * 2.0; }, 0, 2, {1, 1, 0, 0, 2, 2});
    check([&](const Tensor& v) { return part(v, 0, 3) + part(v, 2, 5) * 2.0; }, 0, 2, {1, 1, 3, 2, 2, 0});
    check([&](const Tensor& v) { return part(v, 0, 3) + part(v, 3, 6) * 2.0 + part(v * 4.0, 0, 3); }, 1, 1,
          {5, 5, 5, 2, 2, 2});
}

TEST(Grad, OfSlicesAlongSeveralAxesIsTheSumOfTheirPads) {
    const Tensor x = random::normal(random::Key(3), {4, 6}), w = random::normal(random::Key(4), {2, 3});
    std::vector<std::pair<std::int64_t, std::int64_t>> corners{{0, 0}, {0, 3}, {2, 0}, {2, 3}, {1, 1}};
    Tensor expected = zeros({4, 6}, DType::float32);
    double scale = 1;
    for (const auto& [i, j] : corners) expected = expected + pad(w * scale, {i, j}, {2 - i, 3 - j}), scale *= 2;
    const Tensor g = grad([&](const Tensor& v, const Tensor& s) {
        Tensor sum = zeros({2, 3}, DType::float32);
        double factor = 1;
        for (const auto& [i, j] : corners) sum = sum + slice(v, {i, j}, {i + 2, j + 3}, {1, 1}) * factor, factor *= 2;
        return reduce_sum(sum * s, {0, 1});
    })(x, w);
    EXPECT_EQ(g.to<float>(), expected.to<float>());
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
    EXPECT_THROW(pullback(Tree(astype(vec({1, 10}), DType::float32))), TypeError);
    const auto same = [](const Tree& t) { return t; };
    const Tree x({{"a", vec({1})}, {"b", vec({2})}}), other({{"b", vec({1})}, {"a", vec({2})}});
    EXPECT_THROW(jvp(same, x, other), ValueError);
    EXPECT_THROW(linearize(same, x).tangent(other), ValueError);
    EXPECT_THROW(linearize(same, x).pullback(other), ValueError);
    EXPECT_THROW(jvp(same, x, x.map([](const Tensor& t) { return astype(t, DType::float32); })), TypeError);
}

TEST(Jacobian, OfAMap) {
    const Tensor j = jacobian([](const Tensor& x) { return x * x[0]; }, vec({2, 3}));
    EXPECT_EQ(j.shape(), Shape({2, 2}));
    EXPECT_EQ(j.to<double>(), (std::vector<double>{4, 0, 3, 2}));
}

// The derivatives are products of small numbers that are each known to the last bits.
TEST(Derivatives, OfSaturatedFunctionsHaveTheirDigits) {
    const auto sum_of = [](Tensor (*f)(const Tensor&)) {
        return [f](const Tensor& x) { return reduce_sum(f(x), {0}); };
    };
    const Tensor x = vec({-700, -40, -30, -3, -0.5, 0, 0.5, 3, 30, 40, 700});
    const auto at = x.to<double>(), of_sigmoid = grad(sum_of(logistic))(x).to<double>(),
               of_tanh = grad(sum_of(tanh))(x / 2).to<double>();
    for (std::size_t i = 0; i < at.size(); ++i) {
        const double e = std::exp(-std::abs(at[i])), exact = e / ((1 + e) * (1 + e));
        EXPECT_NEAR(of_sigmoid[i] / exact, 1, 1e-14) << at[i];
        EXPECT_NEAR(of_tanh[i] / (4 * exact), 1, 1e-14) << at[i];
    }
    const auto first = [](const auto& f) { return grad([f](const Tensor& v) { return f(v); }); };
    const auto third = [&](Tensor (*f)(const Tensor&), double v) {
        return first(first(first(f)))(Tensor::from<double>({v}, {})).item<double>();
    };
    EXPECT_DOUBLE_EQ(third(logistic, 0), -0.125);
    EXPECT_DOUBLE_EQ(third(tanh, 0), -2);
    EXPECT_NEAR(third(logistic, 40) / std::exp(-40), 1, 1e-12);
    EXPECT_NEAR(third(tanh, -20) / (16 * std::exp(-40)), 1, 1e-12);
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

// The nodes that computing the gradient takes, by primitive.
int count_recorded(const Tensor& root, std::string_view primitive) {
    Node* node = root.node();
    int n = 0;
    for (const Node* i : schedule::collect({&node, 1}).nodes) n += i->primitive->name == primitive;
    return n;
}

// Norms and activations of the library are checkpoints of their own; where they are large what they give is computed
// again for the gradients of the products that read it.
TEST(Checkpoint, WhatALargeNormOrActivationGivesIsRecordedAgainForAProduct) {
    const auto layer = [](const Tensor& x, const Tensor& w) {
        const Tensor y = reshape(layer_norm(x), {x.extent(0) / 2, 2, x.extent(1)});
        return matmul(gelu(reshape(y, x.shape())), w);
    };
    const auto plainly = [](const Tensor& x, const Tensor& w) {
        const Tensor c = x - mean(x, -1, true), y = c * rsqrt(mean(c * c, -1, true) + 1e-5);
        return matmul(0.5 * y * (1 + erf(y * (1 / std::numbers::sqrt2))), w);
    };
    for (const std::int64_t rows : {64, 1024}) {
        const Tensor x = random::normal(random::Key(1), {rows, 256}).eval(),
                     w = random::normal(random::Key(2), {256, 32}).eval();
        const auto gradients = [&](const auto& f) {
            return value_and_grad_at(
                [&](const Tree& t) {
                    const Tensor y = f(t["x"].tensor(), t["w"].tensor());
                    return reduce_sum(y * y, {0, 1});
                },
                Tree({{"x", x}, {"w", w}}));
        };
        const auto again = gradients(layer), kept = gradients(plainly);
        EXPECT_EQ(count_recorded(again.second["w"].tensor(), "erf"), rows == 64 ? 1 : 2);
        EXPECT_EQ(count_recorded(again.second["w"].tensor(), "rsqrt"), 1) << "gelu's operand is kept";
        for (const char* name : {"w", "x"})
            EXPECT_EQ(again.second[name].tensor().to<float>(), kept.second[name].tensor().to<float>()) << name;
    }
}

TEST(Checkpoint, RecordsItsRegionAgainForTheGradient) {
    const TreeFunction f = [](const Tree& t) { return Tree(sin(exp(t.tensor()))); };
    const auto gradient = [](const TreeFunction& g) {
        const auto [loss, d] =
            value_and_grad([&](const Tensor& x) { return reduce_sum(g(Tree(x)).tensor(), {0}); })(vec({0.3, -0.7}));
        return reduce_sum(d, {0}) + loss;
    };
    EXPECT_EQ(count_recorded(gradient(f), "exp"), 1);
    EXPECT_EQ(count_recorded(gradient(checkpoint(f)), "exp"), 2);
}

TEST(Checkpoint, MayHoldALongChain) {
    const auto f = checkpoint([](const Tree& t) {
        Tensor constant = vec({0}) + 1;
        for (int i = 0; i < 300'000; ++i) constant = negative(constant);
        return Tree(t.tensor() * constant);
    });
    const auto loss = [&](const Tensor& x) { return reduce_sum(f(Tree(x)).tensor(), {0}); };
    EXPECT_EQ(grad(loss)(vec({3})).item<double>(), 1);
}

template <class E>
void expect_message(const std::function<void()>& f, std::string_view part) {
    try {
        f();
        ADD_FAILURE() << "no error: " << part;
    } catch (const E& e) {
        EXPECT_NE(std::string_view(e.what()).find(part), std::string_view::npos) << e.what();
    }
}

using Rule = std::function<Tensor(std::span<const Tensor>, const Tensor&, std::span<const Tensor>)>;

TEST(Custom, RulesAreChecked) {
    const auto slope = [](Rule rule) {
        const auto own = custom_jvp([](auto args) { return args[0] * args[0]; }, std::move(rule));
        grad([&](const Tensor& x) { return reduce_sum(own(std::vector<Tensor>{x}), {0}); })(vec({3, 4})).eval();
    };
    expect_message<ShapeError>([&] { slope([](auto, const Tensor&, auto d) { return d[0][0]; }); }, "custom_jvp");
    expect_message<TypeError>([&] { slope([](auto, const Tensor&, auto d) { return astype(d[0], DType::float32); }); },
                              "custom_jvp");
    const char* nonlinear = "custom_jvp: the rule is not linear in d";
    expect_message<ValueError>([&] { slope([](auto, const Tensor&, auto d) { return d[0] * d[0]; }); }, nonlinear);
    expect_message<ValueError>([&] { slope([](auto, const Tensor&, auto d) { return sin(d[0]); }); }, nonlinear);
    // Affine ones and constants.
    expect_message<ValueError>([&] { slope([](auto, const Tensor&, auto d) { return d[0] + 1; }); }, nonlinear);
    expect_message<ValueError>([&] { slope([](auto args, const Tensor&, auto d) { return args[0] - d[0]; }); },
                               nonlinear);
    expect_message<ValueError>([&] { slope([](auto args, const Tensor&, auto) { return 2 * args[0]; }); }, nonlinear);
    expect_message<ValueError>([&] { slope([](auto, const Tensor&, auto) { return vec({0, 1}); }); }, nonlinear);
    expect_message<ValueError>(
        [&] { slope([](auto args, const Tensor&, auto d) { return select(greater(args[0], 3), d[0], args[0]); }); },
        nonlinear);
    // Zeros in their places are none.
    slope([](auto, const Tensor&, auto d) { return d[0] + 0; });
    slope([](auto, const Tensor&, auto) { return vec({0, -0.0}); });
    slope([](auto args, const Tensor&, auto) { return 0 * args[0]; });
    slope(
        [](auto args, const Tensor&, auto d) { return select(greater(args[0], 3), d[0], zeros({2}, DType::float64)); });
    slope([](auto args, const Tensor&, auto d) {
        return slice(concat({d[0] * args[0], vec({0, 0}) * args[0]}, 0), {0}, {2}, {1});
    });
    const auto narrow = custom_vjp(
        [](auto args) { return args[0] * args[0]; },
        [](auto, const Tensor&, const Tensor& ct) { return std::vector<Tensor>{astype(ct, DType::float32)}; });
    expect_message<TypeError>(
        [&] { grad([&](const Tensor& x) { return reduce_sum(narrow(std::vector<Tensor>{x}), {0}); })(vec({3})); },
        "custom_vjp");
}

TEST(Derivatives, OfWhatHasNoneNameTheCall) {
    const auto square = [](const Tensor& x) { return x * x; };
    const auto nothing = [](const Tensor&) { return Tensor(); };
    const Tensor counts = iota(3, DType::int64);
    expect_message<TypeError>([&] { jacobian(square, counts); },
                              "jacobian: the function's value is int64, and only floating ones have derivatives");
    expect_message<TypeError>([&] { grad(square)(counts[1]); },
                              "grad: the function's value is int64, and only floating ones have derivatives");
    expect_message<ValueError>([&] { jacobian(square, Tensor()); }, "jacobian: an operand is not defined");
    expect_message<ValueError>([&] { grad(square)(Tensor()); },
                               "Tree: a tensor is asked for where there is an undefined one");
    expect_message<ValueError>([&] { jacobian(nothing, vec({1})); }, "jacobian: the function's value is not defined");
    expect_message<ValueError>([&] { grad(nothing)(vec({1})); }, "grad: the function's value is not defined");
}

TEST(EmptyFunctions, AreRefusedByName) {
    const Tree x(vec({1, 2}));
    const TreeFunction none;
    const std::function<Tensor(const Tree&)> of_tree;
    const std::function<Tensor(const Tensor&)> of_tensor;
    const std::function<Tensor(std::span<const Tensor>)> of_span;
    const std::function<Tensor(std::span<const Tensor>)> first = [](auto args) { return args[0]; };
    expect_message<ValueError>([&] { linearize(none, x); }, "linearize: the function is empty");
    expect_message<ValueError>([&] { jvp(none, x, x); }, "jvp: the function is empty");
    expect_message<ValueError>([&] { vjp(none, x); }, "vjp: the function is empty");
    expect_message<ValueError>([&] { value_and_grad_at(of_tree, x); }, "value_and_grad_at: ");
    expect_message<ValueError>([&] { jacobian(of_tensor, vec({1})); }, "jacobian: ");
    expect_message<ValueError>([&] { hessian_vector_product(of_tree, x, x); }, "hessian_vector_product: ");
    expect_message<ValueError>([&] { checkpoint(none); }, "checkpoint: ");
    expect_message<ValueError>([&] { scan(nullptr, x, x); }, "scan: the function");
    expect_message<ValueError>([&] { custom_jvp(of_span, nullptr); }, "custom_jvp: the function");
    expect_message<ValueError>([&] { custom_jvp(first, nullptr); }, "custom_jvp: the function");
    expect_message<ValueError>([&] { custom_vjp(of_span, nullptr); }, "custom_vjp: the function");
    expect_message<ValueError>([&] { custom_vjp(first, nullptr); }, "custom_vjp: the function");
    expect_message<ValueError>([&] { grad(of_tensor); }, "grad: the function");
    expect_message<ValueError>([&] { value_and_grad(of_tensor); }, "value_and_grad: the function");
    expect_message<ValueError>([&] { compile(static_cast<Tensor (*)(const Tensor&)>(nullptr)); },
                               "compile: the function");
    expect_message<ValueError>([&] { compile(of_tensor); }, "compile: the function");
    expect_message<ValueError>([&] { CompiledCalls().call(none, x); }, "the function is empty");
    expect_message<ValueError>([&] { x.map(of_tensor); }, "Tree::map: ");
    expect_message<ValueError>([&] { tree_map(nullptr, x, x); }, "tree_map: ");
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

TEST(Scan, EveryStepGivesTheSameResults) {
    const auto results = [](const Tree& first, const Tree& later) {
        int step = 0;
        const auto f = [&](const Tree& c, const Tree&) { return std::pair<Tree, Tree>(c, step++ ? later : first); };
        scan(f, Tree(vec({1})), Tree(), 3);
    };
    const Tree one({{"a", vec({1})}}), two({{"a", vec({1})}, {"b", vec({2})}});
    EXPECT_NO_THROW(results(two, two));
    expect_message<ShapeError>([&] { results(two, one); }, "scan");
    expect_message<ShapeError>([&] { results(one, two); }, "scan");
    expect_message<ShapeError>([&] { results(one, Tree({{"b", vec({1})}})); }, "scan");
    expect_message<ShapeError>([&] { results(one, Tree({{"a", vec({1, 2})}})); }, "(2,) float64");
    expect_message<ShapeError>([&] { results(one, Tree({{"a", astype(vec({1}), DType::float32)}})); }, "float32");
}

TEST(StopGradient, IsAConstant) {
    EXPECT_EQ(grad([](const Tensor& x) { return reduce_sum(x * stop_gradient(x), {0}); })(vec({5})).item<double>(), 5);
}

}  // namespace
}  // namespace tenon
