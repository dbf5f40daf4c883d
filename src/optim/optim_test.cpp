// Optimizers against plain float64 loops, schedules, clipping, and the identity of a step's graph.
#include "tenon/optim.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <set>
#include <string>
#include <tuple>

#include "schedule/evaluate.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::optim {
namespace {

using Vector = std::vector<double>;

// A matrix that decays and a vector that does not; gradients that change from step to step.
struct Plain {
    Vector w = {1, -2, 3, 0.5}, b = {0.25, -1};

    Tree tree() const { return Tree({{"w", Tensor::from<double>(w, {2, 2})}, {"b", Tensor::from<double>(b, {2})}}); }
    static Vector gradient(const Vector& p, int step) {
        Vector g;
        for (std::size_t i = 0; i < p.size(); ++i)
            g.push_back(std::sin(3 * p[i]) + 0.1 * step + static_cast<double>(i));
        return g;
    }
    Tree gradients(int step) const {
        return Tree({{"w", Tensor::from<double>(gradient(w, step), {2, 2})},
                     {"b", Tensor::from<double>(gradient(b, step), {2})}});
    }
};

void expect_near(const Tree& got, const Plain& expected, double tolerance = 1e-14) {
    const auto w = got["w"].tensor().to<double>(), b = got["b"].tensor().to<double>();
    for (std::size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(w[i], expected.w[i], tolerance) << "w " << i;
    for (std::size_t i = 0; i < b.size(); ++i) EXPECT_NEAR(b[i], expected.b[i], tolerance) << "b " << i;
}

Tree multipliers(double w, double b) {
    return Tree({{"w", Tensor::from<double>({w}, {})}, {"b", Tensor::from<double>({b}, {})}});
}

// Runs an optimizer beside `step(vector, moments, gradient, t, multiplier, decays)`.
template <class Optimizer, class Step>
void compare(const Optimizer& optimizer, Step step, double mw = 1, double mb = 1) {
    Plain p;
    Tree params = p.tree(), state = optimizer.init(params);
    Vector moments_w(8, 0.0), moments_b(4, 0.0);
    for (int t = 0; t < 7; ++t) {
        const Tree grads = p.gradients(t);
        std::tie(params, state) = optimizer.update(params, grads, state);
        const Vector gw = Plain::gradient(p.w, t), gb = Plain::gradient(p.b, t);
        step(p.w, moments_w, gw, t, mw, true);
        step(p.b, moments_b, gb, t, mb, false);
        expect_near(params, p);
        EXPECT_EQ(state["step"].tensor().item<int>(), t + 1);
    }
}

TEST(SgdTest, PlainMomentumAndNesterov) {
    for (const bool nesterov : {false, true})
        for (const double momentum : {0.0, 0.9}) {
            if (nesterov && momentum == 0) continue;
            const SGD sgd({.learning_rate = 0.1,
                           .momentum = momentum,
                           .nesterov = nesterov,
                           .weight_decay = 0.05,
                           .multipliers = multipliers(2, 0.5)});
            compare(
                sgd,
                [&](Vector& p, Vector& m, const Vector& g, int, double multiplier, bool decays) {
                    for (std::size_t i = 0; i < p.size(); ++i) {
                        const double with_decay = g[i] + (decays ? 0.05 * p[i] : 0);
                        m[i] = momentum * m[i] + with_decay;
                        p[i] -= 0.1 * multiplier * (nesterov ? with_decay + momentum * m[i] : m[i]);
                    }
                },
                2, 0.5);
        }
}

auto adam_step(double rate, double b1, double b2, double eps, double decay, bool vectors = false) {
    return [=](Vector& p, Vector& m, const Vector& g, int step, double multiplier, bool decays) {
        const std::size_t n = p.size();
        const double t = step + 1, r = rate * multiplier;
        for (std::size_t i = 0; i < n; ++i) {
            m[i] = b1 * m[i] + (1 - b1) * g[i];
            m[n + i] = b2 * m[n + i] + (1 - b2) * g[i] * g[i];
            if (decays || vectors) p[i] -= r * decay * p[i];
            p[i] -= r * (m[i] / (1 - std::pow(b1, t))) / (std::sqrt(m[n + i] / (1 - std::pow(b2, t))) + eps);
        }
    };
}

TEST(AdamTest, FollowsThePaper) {
    compare(Adam({.learning_rate = 0.01, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6}),
            adam_step(0.01, 0.8, 0.95, 1e-6, 0));
}

TEST(AdamWTest, DecaysMatricesAlone) {
    compare(AdamW({.learning_rate = 0.01, .weight_decay = 0.1}), adam_step(0.01, 0.9, 0.999, 1e-8, 0.1));
    compare(AdamW({.learning_rate = 0.01, .weight_decay = 0.1, .decay_vectors = true}),
            adam_step(0.01, 0.9, 0.999, 1e-8, 0.1, true));
}

TEST(AdamWTest, MultipliersScaleEachRate) {
    compare(AdamW({.learning_rate = 0.01, .multipliers = multipliers(3, 0.25)}),
            adam_step(0.01, 0.9, 0.999, 1e-8, 0.01), 3, 0.25);
}

TEST(AdamWTest, SchedulesEnterStepByStep) {
    const Schedule s = warmup_cosine(0.02, 2, 6);
    compare(AdamW({.learning_rate = s}),
            [&](Vector& p, Vector& m, const Vector& g, int t, double multiplier, bool decays) {
                adam_step(s(t), 0.9, 0.999, 1e-8, 0.01)(p, m, g, t, multiplier, decays);
            });
}

TEST(AdamWTest, NarrowParametersKeepMomentsInFloat32) {
    const Tree params({{"w", astype(Plain().tree()["w"].tensor(), DType::bfloat16)}});
    const AdamW adam({.learning_rate = 0.5});
    const Tree state = adam.init(params);
    EXPECT_EQ(state["m.w"].tensor().dtype(), DType::float32);
    const auto [next, after] = adam.update(params, params, state);
    EXPECT_EQ(next["w"].tensor().dtype(), DType::bfloat16);
    EXPECT_EQ(after["v.w"].tensor().dtype(), DType::float32);
    EXPECT_NEAR(next["w"].tensor().to<double>()[0], 1 - 0.5 * 0.01 - 0.5, 2e-2);
}

TEST(OptimizerTest, WhatIsGivenUpLendsItsMemory) {
    const AdamW adam;
    Tree params({{"w", random::normal(random::Key(1), {30, 40}).eval()}}), state = adam.init(params);
    const Tensor x = random::normal(random::Key(2), {10, 30}).eval();
    const auto places = [&] {
        std::set<const void*> all;
        for (const Tree& t : {params["w"], state["m.w"], state["v.w"]}) all.insert(t.tensor().host().data);
        return all;
    };
    std::set<const void*> before_step;
    for (int i = 0; i < 5; ++i) {
        auto [loss, grads] = value_and_grad(
            [](const Tree& p, const Tensor& v) { return sum(square(matmul(v, p["w"].tensor()))); })(params, x);
        std::tie(params, state) = adam.update(std::move(params), std::move(grads), std::move(state), {loss});
        if (i > 2) {
            EXPECT_EQ(places(), before_step);
        }
        before_step = places();
    }
    const Tree kept = params;
    const std::vector<float> before = kept["w"].tensor().to<float>();
    adam.update(params, params, state);
    EXPECT_EQ(kept["w"].tensor().to<float>(), before);
    EXPECT_EQ(state["m.w"].tensor().to<float>().size(), 1200u);
}

TEST(OptimizerTest, UpdateComputesEverything) {
    const AdamW adam;
    const Tree params = Plain().tree();
    const Tensor loss = sum(params["w"].tensor());
    const auto before = schedule::statistics();
    const auto [next, state] = adam.update(params, Plain().gradients(0), adam.init(params), {loss});
    const auto after = schedule::statistics();
    EXPECT_EQ(after.hits + after.misses - before.hits - before.misses, 2);  // init and one flush
    for (const Tree& t : {next, state})
        for (const Tensor& leaf : t.leaves()) leaf.host();
    loss.item<double>();
    const auto read = schedule::statistics();
    EXPECT_EQ(read.hits + read.misses, after.hits + after.misses);
}

// Whatever the learning rate and the step are, the graph is the one of the step before.
TEST(OptimizerTest, TheGraphOfAStepStaysTheSame) {
    const Tensor x = random::normal(random::Key(1), {8, 4}), y = random::normal(random::Key(2), {8, 2});
    Tree params({{"w", random::normal(random::Key(3), {4, 2})}, {"b", zeros({2})}});
    eval(params), eval({x, y});
    const AdamW adam({.learning_rate = warmup_cosine(1e-2, 3, 20)});
    Tree state = adam.init(params);
    const auto loss_fn = [](const Tree& p, const Tensor& in, const Tensor& target) {
        return mse(matmul(in, p["w"].tensor()) + p["b"].tensor(), target);
    };
    schedule::Statistics last{};
    for (int step = 0; step < 6; ++step) {
        auto [loss, grads] = value_and_grad(loss_fn)(params, x, y);
        std::tie(params, state) = adam.update(params, clip_by_global_norm(grads, 1.0), state, {loss});
        const auto now = schedule::statistics();
        if (step >= 2) {
            EXPECT_EQ(now.misses, last.misses) << "step " << step;
            EXPECT_EQ(now.hits, last.hits + 1) << "step " << step;
        }
        last = now;
    }
}

TEST(OptimizerTest, RefusesAStepThatHasNoNext) {
    const AdamW adam;
    const Tree params({{"w", zeros({2})}});
    for (const std::int64_t step : {INT64_MIN, std::int64_t{-1}, INT64_MAX}) {
        Tree state = adam.init(params);
        state.set("step", Tensor::from<std::int64_t>({step}, {}));
        EXPECT_THROW(adam.update(params, params, state), ValueError);
    }
}

TEST(OptimizerTest, SaysWhatIsWrongWithAStepAndAMultiplier) {
    const AdamW adam;
    const Tree params = Plain().tree();
    const auto message = [](const auto& f) -> std::string {
        try {
            f();
            return "no error";
        } catch (const Error& error) {
            return error.what();
        }
    };
    const auto of_step = [&](const Tree& step) {
        Tree state = adam.init(params);
        state.set("step", step);
        return message([&] { adam.update(params, params, state); });
    };
    EXPECT_EQ(of_step(full({}, 1.5)), "AdamW: the state's \"step\" is float32, not an integer");
    EXPECT_NE(of_step(Tensor::from<std::int64_t>({1, 2}, {2})).find("AdamW: the state's \"step\" is (2,) int64"),
              std::string::npos);
    EXPECT_EQ(of_step(params), "AdamW: the state's \"step\" is a tree, not a number");
    const auto of_multiplier = [&](const Tensor& w) {
        const SGD sgd({.multipliers = Tree({{"w", w}, {"b", full({}, 1.0)}})});
        return message([&] { sgd.update(params, params, sgd.init(params)); });
    };
    EXPECT_EQ(of_multiplier(full({}, -1.0)), "SGD: the multiplier of \"w\" is -1, negative or not finite");
    EXPECT_NE(of_multiplier(full({}, HUGE_VAL)).find("SGD: the multiplier of \"w\" is inf"), std::string::npos);
    EXPECT_NE(of_multiplier(full({2}, 1.0)).find("SGD: the multiplier of \"w\" is (2,) float32"), std::string::npos);
    EXPECT_EQ(of_multiplier(full({}, 0.0)), "no error");
}

TEST(OptimizerTest, TrainsALeastSquaresFit) {
    const Tensor x = random::normal(random::Key(1), {64, 4}),
                 target = matmul(x, random::normal(random::Key(2), {4, 2}));
    const auto loss_fn = [](const Tensor& w, const Tensor& in, const Tensor& y) { return mse(matmul(in, w), y); };
    const auto train = [&](const auto& optimizer) {
        Tree w = zeros({4, 2}), state = optimizer.init(w);
        for (int i = 0; i < 200; ++i) {
            auto [loss, g] = value_and_grad(loss_fn)(w.tensor(), x, target);
            std::tie(w, state) = optimizer.update(w, g, state);
        }
        return loss_fn(w.tensor(), x, target).item<double>();
    };
    EXPECT_LT(train(SGD({.learning_rate = 0.1, .momentum = 0.9})), 1e-6);
    EXPECT_LT(train(Adam({.learning_rate = cosine(0.1, 200)})), 1e-4);
}

TEST(OptimizerTest, TreesThatDoNotFitAreErrors) {
    const AdamW adam;
    const Tree params = Plain().tree(), state = adam.init(params);
    const Tree fewer({{"w", params["w"]}}), renamed({{"w", params["w"]}, {"c", params["b"]}}),
        reshaped({{"w", params["b"]}, {"b", params["b"]}}),
        flat({{"w", flatten(params["w"].tensor())}, {"b", params["b"]}});
    EXPECT_THROW(adam.update(params, fewer, state), ValueError);
    EXPECT_THROW(adam.update(params, renamed, state), ValueError);
    EXPECT_THROW(adam.update(params, reshaped, state), ShapeError);
    try {
        adam.update(params, flat, state);
        ADD_FAILURE();
    } catch (const ShapeError& error) {
        EXPECT_NE(std::string(error.what()).find("AdamW: gradients of \"w\" of shape"), std::string::npos);
    }
    EXPECT_THROW(adam.update(params, params, Tree()), ValueError);
    EXPECT_THROW(adam.update(params, params, adam.init(reshaped)), ShapeError);
    EXPECT_THROW(SGD({.momentum = 0.9}).update(params, params, SGD().init(params)), ValueError);
    EXPECT_THROW(AdamW({.multipliers = fewer}).update(params, params, state), ValueError);
    const Tree integers({{"w", Tensor::from<std::int64_t>({1, 2})}});
    EXPECT_THROW(adam.update(integers, integers, adam.init(integers)), TypeError);
}

TEST(OptimizerTest, BadOptionsAreErrors) {
    EXPECT_THROW(AdamW({.learning_rate = -1e-3}), ValueError);
    EXPECT_THROW(AdamW({.learning_rate = std::nan("")}), ValueError);
    EXPECT_THROW(AdamW({.beta1 = 1}), ValueError);
    EXPECT_THROW(AdamW({.beta2 = -0.1}), ValueError);
    EXPECT_THROW(AdamW({.eps = -1}), ValueError);
    EXPECT_THROW(AdamW({.weight_decay = -1}), ValueError);
    EXPECT_THROW(Adam({.beta1 = 2}), ValueError);
    EXPECT_THROW(SGD({.momentum = 1}), ValueError);
    EXPECT_THROW(SGD({.nesterov = true}), ValueError);
    EXPECT_THROW(SGD({.learning_rate = INFINITY}), ValueError);
    const auto message = [](const std::function<void()>& f) -> std::string {
        try {
            f();
        } catch (const ValueError& e) {
            return e.what();
        }
        return "nothing is thrown";
    };
    EXPECT_EQ(message([] { cosine(-1, 10); }), "cosine: a learning rate of -1 is negative or not finite");
    EXPECT_EQ(message([] { cosine(1, 0); }), "cosine: steps = 0 is not above 0");
    EXPECT_EQ(message([] { warmup_cosine(1, 10, 10); }), "warmup_cosine: steps = 10 is not above warmup = 10");
    EXPECT_EQ(message([] { warmup_cosine(1, -1, 10); }), "warmup_cosine: warmup = -1 is negative");
    EXPECT_EQ(message([] { Schedule([](std::int64_t) { return -1.0; })(0); }),
              "Schedule: a learning rate of -1 is negative or not finite");
}

TEST(ScheduleTest, Values) {
    EXPECT_EQ(constant(0.5)(1000), 0.5);
    const Schedule c = cosine(2, 10, 0.5);
    EXPECT_EQ(c(0), 2);
    EXPECT_NEAR(c(5), 1.25, 1e-15);
    EXPECT_NEAR(c(3), 0.5 + 1.5 * 0.5 * (1 + std::cos(0.3 * std::numbers::pi)), 1e-15);
    EXPECT_EQ(c(10), 0.5);
    EXPECT_EQ(c(99), 0.5);
    const Schedule w = warmup_cosine(1, 4, 8);
    EXPECT_EQ(w(0), 0.25);
    EXPECT_EQ(w(3), 1);
    EXPECT_EQ(w(4), 1);
    EXPECT_NEAR(w(6), 0.5, 1e-15);
    EXPECT_EQ(w(8), 0);
    EXPECT_THROW(Schedule(std::function<double(std::int64_t)>()), ValueError);
}

TEST(ClipTest, ScalesToTheNorm) {
    const Tree g({{"a", Tensor::from<double>({3, 0})}, {"b", Tensor::from<float>({4}, {1, 1})}});
    EXPECT_DOUBLE_EQ(global_norm(g).item<double>(), 5);
    const Tree clipped = clip_by_global_norm(g, 2.5);
    EXPECT_EQ(clipped["a"].tensor().to<double>(), (Vector{1.5, 0}));
    EXPECT_EQ(clipped["b"].tensor().to<double>(), (Vector{2}));
    EXPECT_EQ(clipped["b"].tensor().dtype(), DType::float32);
    EXPECT_EQ(clip_by_global_norm(g, 5)["a"].tensor().to<double>(), (Vector{3, 0}));
    EXPECT_EQ(clip_by_global_norm(g, 100)["b"].tensor().to<double>(), (Vector{4}));
    EXPECT_EQ(global_norm(Tree()).item<double>(), 0);
    const Tree zero({{"a", zeros({2})}});
    EXPECT_EQ(clip_by_global_norm(zero, 1)["a"].tensor().to<double>(), (Vector{0, 0}));
    const Tree nan({{"a", Tensor::from<double>({std::nan(""), 1})}});
    EXPECT_TRUE(std::isnan(clip_by_global_norm(nan, 1)["a"].tensor().to<double>()[1]));
    EXPECT_THROW(clip_by_global_norm(g, 0), ValueError);
}

TEST(ClipTest, LargeGradientsDoNotOverflow) {
    const Tree large({{"a", Tensor::from<float>({1e20f, 0})}, {"b", Tensor::from<float>({-1e20f})}});
    EXPECT_FLOAT_EQ(global_norm(large).item<float>(), std::sqrt(2.0f) * 1e20f);
    const Tree clipped = clip_by_global_norm(large, 1);
    EXPECT_FLOAT_EQ(clipped["a"].tensor().to<float>()[0], std::sqrt(0.5f));
    EXPECT_FLOAT_EQ(clipped["b"].tensor().to<float>()[0], -std::sqrt(0.5f));
    const Tree negative({{"a", Tensor::from<float>({-1e20f, -1e19f})}}), single({{"a", Tensor::from<float>({1e20f})}});
    EXPECT_FLOAT_EQ(global_norm(negative).item<float>(), std::sqrt(1.01f) * 1e20f);
    EXPECT_FLOAT_EQ(global_norm(single).item<float>(), 1e20f);
    EXPECT_EQ(clip_by_global_norm(large, 1e30)["a"].tensor().to<float>(), (std::vector<float>{1e20f, 0}));
    for (const double limit : {1e39, double(INFINITY)})
        EXPECT_EQ(clip_by_global_norm(large, limit)["a"].tensor().to<float>(), (std::vector<float>{1e20f, 0})) << limit;
    constexpr float kMost = std::numeric_limits<float>::max();
    const Tree most({{"a", Tensor::from<float>({kMost, kMost, -kMost, kMost})}});
    EXPECT_EQ(clip_by_global_norm(most, 1e-8)["a"].tensor().to<float>()[2], -0.5e-8f);
    const Tree wide({{"a", Tensor::from<double>({1e300, -1e300})}, {"b", Tensor::from<float>({1e20f})}});
    EXPECT_DOUBLE_EQ(clip_by_global_norm(wide, 2)["a"].tensor().to<double>()[1], -std::sqrt(2.0));
    const Tree infinite({{"a", Tensor::from<float>({INFINITY, 1})}});
    EXPECT_TRUE(std::isnan(clip_by_global_norm(infinite, 1)["a"].tensor().to<float>()[0]));
    EXPECT_EQ(clip_by_global_norm(Tree({{"a", zeros({0})}}), 1)["a"].tensor().size(), 0);
}

}  // namespace
}  // namespace tenon::optim
