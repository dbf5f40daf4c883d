// Updates in compiled functions: the bits of those that are recorded at each step, in one call.
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <tuple>

#include "schedule/evaluate.h"
#include "tenon/compile.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/optim.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::optim {
namespace {

using schedule::statistics;

Tensor values(const Shape& shape, unsigned seed = 1) { return random::normal(random::Key(seed), shape).eval(); }

bool same_bits(const Tensor& a, const Tensor& b) {
    if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
    // Each dtype here is exact in float64.
    const auto x = a.to<double>(), y = b.to<double>();
    return std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
}

Tree parameters(DType dtype = DType::float32) {
    Tree p({{"w", values({6, 5})}, {"b", values({5}, 2)}});
    p = p.map([&](const Tensor& t) { return astype(t, dtype); });
    eval(p);
    return p;
}

Tensor loss_of(const Tree& p, const Tensor& x) {
    return mean(square(matmul(x, astype(p["w"].tensor(), DType::float32)) + astype(p["b"].tensor(), DType::float32)));
}

void expect_same(const Tree& a, const Tree& b) {
    const auto x = a.flatten(), y = b.flatten();
    ASSERT_EQ(x.size(), y.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(x[i].first, y[i].first);
        EXPECT_TRUE(same_bits(x[i].second, y[i].second)) << x[i].first;
    }
}

/// Steps as they are recorded and as a compiled function.
template <class Optimizer>
void compare(const Optimizer& optimizer, DType dtype = DType::float32) {
    const auto step = compile([&](const Tree& p, const Tree& s, const Tensor& x) {
        auto [loss, grads] = value_and_grad(loss_of)(p, x);
        auto [next, after] = optimizer.update(p, clip_by_global_norm(grads, 0.5), s, {loss});
        return std::tuple(loss, next, after);
    });
    Tree params = parameters(dtype), state = optimizer.init(params), p = params, s = state;
    Tensor loss;
    for (int i = 0; i < 6; ++i) {
        const Tensor x = values({4, 6}, static_cast<unsigned>(10 + i));
        auto [value, grads] = value_and_grad(loss_of)(params, x);
        std::tie(params, state) = optimizer.update(params, clip_by_global_norm(grads, 0.5), state, {value});
        std::tie(loss, p, s) = step(std::move(p), std::move(s), x);
        EXPECT_TRUE(same_bits(loss, value));
        expect_same(p, params);
        expect_same(s, state);
        EXPECT_EQ(s["step"].tensor().item<int>(), i + 1);
    }
    EXPECT_LE(step.signatures(), 2u);  // moments of a new state are one zero, broadcast
}

TEST(CompiledStep, HasTheBitsOfTheRecordedOne) {
    compare(Adam({.learning_rate = warmup_cosine(0.1, 2, 5)}));
    compare(AdamW({.learning_rate = 0.1, .decay_vectors = true}));
    compare(AdamW({.learning_rate = 0.1, .multipliers = Tree({{"w", full({}, 2.0)}, {"b", full({}, 0.5)}})}));
    compare(AdamW({.learning_rate = 0.1}), DType::bfloat16);
    compare(AdamW({.learning_rate = 0.1}), DType::float64);
    compare(SGD({.learning_rate = cosine(0.1, 4)}));
    compare(SGD({.learning_rate = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.1}));
}

std::set<const void*> places(const Tree& params, const Tree& state) {
    std::set<const void*> all;
    for (const Tree& t : {params["w"], state["m.w"], state["v.w"]}) all.insert(t.tensor().host().data);
    return all;
}

TEST(CompiledStep, RecordsNothingAndTakesNoNewMemory) {
    const AdamW adam;
    int runs = 0;
    const auto step = compile([&](const Tree& p, const Tree& s, const Tensor& x) {
        ++runs;
        auto [loss, grads] = value_and_grad(loss_of)(p, x);
        auto [next, after] = adam.update(p, grads, s);
        return std::tuple(loss, next, after);
    });
    Tree params = parameters(), state = adam.init(params);
    const Tensor x = values({4, 6});
    Tensor loss;
    std::set<const void*> before;
    for (int i = 0; i < 4; ++i) {
        const auto found = statistics();
        std::tie(loss, params, state) = step(std::move(params), std::move(state), x);
        if (i > 0) {
            EXPECT_EQ(statistics().hits + statistics().misses, found.hits + found.misses);
            EXPECT_EQ(places(params, state), before);
        }
        before = places(params, state);
    }
    EXPECT_EQ(runs, 1);  // the moments of a new state, one zero for all, are given up: they are written out
}

TEST(CompiledStep, TwoUpdatesAreTwoSteps) {
    const Adam adam({.learning_rate = cosine(0.1, 10)});
    const auto two = [&](const Tree& p, const Tree& s, const Tensor& x) {
        auto [next, after] = adam.update(p, value_and_grad(loss_of)(p, x).second, s);
        return adam.update(next, value_and_grad(loss_of)(next, x).second, after);
    };
    const auto compiled = compile(two);
    const Tree params = parameters(), state = adam.init(params);
    const Tensor x = values({4, 6});
    Tree p = params, s = state, q = params, t = state;
    for (int i = 0; i < 3; ++i) {
        std::tie(p, s) = two(p, s, x);
        std::tie(q, t) = compiled(q, t, x);
        expect_same(q, p);
        expect_same(t, s);
    }
    EXPECT_EQ(t["step"].tensor().item<int>(), 6);
}

TEST(CompiledStep, RefusesAStepThatHasNoNextAndARateThatIsNone) {
    const AdamW adam({.learning_rate = Schedule([](std::int64_t s) { return s == 3 ? -1.0 : 0.1; })});
    const auto step = compile([&](const Tree& p, const Tree& s) { return adam.update(p, p, s); });
    const Tree params = parameters();
    for (const std::int64_t at : {INT64_MIN, std::int64_t{-1}, INT64_MAX, std::int64_t{3}}) {
        Tree state = adam.init(params);
        state.set("step", Tensor::from<std::int64_t>({at}, {}));
        EXPECT_THROW(step(params, state), ValueError) << at;
    }
    expect_same(step(params, adam.init(params)).first, adam.update(params, params, adam.init(params)).first);
    Tree state = adam.init(params);
    state.set("step", Tensor::from<std::int64_t>({0, 1}, {2}));
    EXPECT_THROW(step(params, state), Error);
}

// The gradients a compiled function gives are there: the update is compiled by itself.
TEST(CompiledStep, AnUpdateOfWhatIsComputedIsOneCall) {
    const AdamW adam({.learning_rate = cosine(0.1, 10)});
    const auto gradients = compile(value_and_grad(loss_of));
    Tree params = parameters(), state = adam.init(params), p = params, s = state;
    const Tensor x = values({4, 6});
    std::set<const void*> before;
    for (int i = 0; i < 5; ++i) {
        auto [loss, grads] = value_and_grad(loss_of)(params, x);
        std::tie(params, state) = adam.update(params, grads, state, {loss});
        const auto found = statistics();
        auto [value, g] = gradients(p, x);
        std::tie(p, s) = adam.update(std::move(p), g, std::move(s), {value});
        if (i > 1) {
            EXPECT_EQ(statistics().hits + statistics().misses, found.hits + found.misses);
            EXPECT_EQ(places(p, s), before);
        }
        before = places(p, s);
        expect_same(p, params);
        expect_same(s, state);
    }
}

TEST(CompiledKey, DrawsOfTheArgument) {
    const auto draw = [](const random::Key& given, const Tensor& x) {
        random::Key key = given;
        const random::Key first = key.next();
        return dropout(x, 0.5, first) + random::normal(key.split(2)[1], x.shape()) +
               random::uniform(key.fold_in(7), x.shape());
    };
    const auto compiled = compile([&](const Tensor& key, const Tensor& x) { return draw(random::Key(key), x); });
    const Tensor x = values({5, 7});
    for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{2}, UINT64_MAX}) {
        const random::Key key(seed);
        EXPECT_TRUE(same_bits(compiled(key.tensor(), x), draw(key, x))) << seed;
        EXPECT_EQ(random::Key(key.tensor()), key);
    }
    EXPECT_EQ(compiled.signatures(), 1u);
    EXPECT_THROW(random::Key(zeros({2})), TypeError);
    const auto reads =
        compile([](const Tensor& key, const Tensor& v) { return random::Key(key).value() == 0 ? v : v + 1.0; });
    EXPECT_THROW(reads(random::Key(1).tensor(), x), ValueError);
}

}  // namespace
}  // namespace tenon::optim
