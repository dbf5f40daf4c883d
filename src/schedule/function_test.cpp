// Compiled functions have the bits of the function, which runs once for each signature; captured tensors, arguments
// that are given up, and calls that are refused.
#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "base/storage.h"
#include "schedule/compile_testing.h"
#include "schedule/options.h"
#include "tenon/compile.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"
#include "tenon/random.h"

namespace tenon {
namespace {

using schedule::Options;
using schedule::Statistics;
using schedule::statistics;
using schedule::WithOptions;
using schedule::testing::same_bits;
using schedule::testing::values;

Tensor network(const Tree& p, const Tensor& x) {
    const Tensor h = gelu(matmul(x, p["up"].tensor()) + p["bias"].tensor());
    return softmax(matmul(h, p["down"].tensor()));
}
Tree parameters() { return Tree({{"up", values({12, 24})}, {"bias", values({24}, 2)}, {"down", values({24, 5}, 3)}}); }

TEST(CompiledFunction, RunsOncePerSignatureWithTheBitsOfTheFunction) {
    int runs = 0;
    const auto f = [&](const Tensor& x, const Tensor& y) {
        ++runs;
        return layer_norm(x * y + tanh(x)) - y;
    };
    const auto g = compile(f);
    Options strict;
    strict.verify = strict.poison = true;
    const WithOptions scope(strict);
    const Tensor x = values({6, 20}), y = values({20}, 2), z = values({6, 20}, 3);
    const Statistics before = statistics();
    for (const Tensor& now : {x, z, x}) {
        EXPECT_TRUE(same_bits(g(now, y), f(now, y)));
    }
    EXPECT_EQ(runs, 1 + 3);
    EXPECT_EQ(statistics().compiled_runs - before.compiled_runs, 3 + 2);  // and f's own from the second time on
    const Tensor more = values({7, 20});
    EXPECT_TRUE(same_bits(g(more, y), f(more, y)));
    const Tensor narrow = astype(x, DType::bfloat16), turned = transpose(values({20, 6}, 5), {1, 0});
    EXPECT_TRUE(same_bits(g(narrow, y), f(narrow, y)));
    EXPECT_TRUE(same_bits(g(turned, y), f(turned, y)));
    EXPECT_TRUE(same_bits(g(flip(turned), y), f(flip(turned), y)));
    EXPECT_EQ(g.signatures(), 5u);
    runs = 0;
    for (const Tensor& again : {more, narrow, turned}) g(again, y);
    EXPECT_EQ(runs, 0);
}

TEST(CompiledFunction, TakesAndGivesTensorsTreesPairsAndTuples) {
    const Tree params = parameters();
    const Tensor x = values({3, 12});
    const auto whole = compile([](const Tree& p, const Tensor& v) {
        const Tensor y = network(p, v);
        return std::tuple(y, Tree({{"a", sum(y)}, {"b", p}}), std::pair(v, std::vector<Tensor>{y, y + 1.0}));
    });
    const auto [y, tree, rest] = whole(params, x);
    EXPECT_TRUE(same_bits(y, network(params, x)));
    EXPECT_TRUE(same_bits(tree["a"].tensor(), sum(y)));
    EXPECT_TRUE(same_bits(tree["b.up"].tensor(), params["up"].tensor()));
    EXPECT_TRUE(same_bits(rest.first, x));
    EXPECT_TRUE(same_bits(rest.second[0], y));
    EXPECT_TRUE(same_bits(rest.second[1], y + 1.0));
    // Other names are another signature.
    const auto names = compile([](const Tree& p) { return sum(p.leaves()[0]); });
    names(Tree({{"a", x}})), names(Tree({{"b", x}})), names(Tree({{"a", x}}));
    EXPECT_EQ(names.signatures(), 2u);
    const auto nothing = compile([] { return zeros({3}) + 1.0; });
    EXPECT_EQ(nothing().to<float>(), (std::vector<float>{1, 1, 1}));
}

TEST(CompiledFunction, GradientsInsideAndOutside) {
    const Tree params = parameters();
    const Tensor x = values({8, 12});
    const auto loss = [](const Tree& p, const Tensor& v) { return mean(square(network(p, v))); };
    const auto [value, grads] = value_and_grad(loss)(params, x);
    const auto inside = compile(value_and_grad(loss));
    for (int i = 0; i < 2; ++i) {
        const auto [v, g] = inside(params, x);
        EXPECT_TRUE(same_bits(v, value));
        for (std::size_t k = 0; k < 3; ++k) EXPECT_TRUE(same_bits(g.leaves()[k], grads.leaves()[k]));
    }
    const auto compiled_loss = compile(loss);
    const auto outside =
        value_and_grad([&](const Tree& p, const Tensor& v) { return compiled_loss(p, v); })(params, x).second;
    for (std::size_t k = 0; k < 3; ++k) EXPECT_TRUE(same_bits(outside.leaves()[k], grads.leaves()[k]));
    const auto nested = compile([&](const Tree& p, const Tensor& v) { return compiled_loss(p, v) * 2.0; });
    EXPECT_TRUE(same_bits(nested(params, x), value * 2.0));
    EXPECT_EQ(compiled_loss.signatures(), 0u);
    const auto of_tensor = [](const Tensor& v) { return mean(square(tanh(v))); };
    EXPECT_TRUE(same_bits(grad(compile(of_tensor))(x), grad(of_tensor)(x)));
    EXPECT_TRUE(same_bits(value_and_grad(compiled_loss)(params, x).first, value));
    const auto redone = checkpoint([](const Tree& t) { return Tree(cumulative_max(tanh(t.tensor()), 0)); });
    const auto with_checkpoint = [&](const Tensor& v) { return sum(square(redone(v).tensor())); };
    EXPECT_TRUE(same_bits(compile(grad(with_checkpoint))(x), grad(with_checkpoint)(x)));
}

TEST(CompiledFunction, NumbersAreArgumentsAndTakeTheDtypeOfWhatTheyMeet) {
    int runs = 0;
    const auto f = [&](const Tensor& x, const Tensor& rate) {
        ++runs;
        return x - rate * tanh(x) + pow(x, 2);
    };
    const auto g = compile(f);
    for (const DType t : {DType::float32, DType::bfloat16, DType::float64}) {
        const Tensor x = astype(values({10}), t).eval();
        for (const double rate : {0.1, 0.2, 0.3}) {
            const Tensor y = g(x, rate);
            EXPECT_EQ(y.dtype(), t);
            EXPECT_TRUE(same_bits(y, f(x, rate)));
        }
    }
    EXPECT_EQ(runs, 3 + 9);
    const auto add = compile([](const Tensor& x, const Tensor& n) { return x + n; });
    const Tensor small = Tensor::from<std::int8_t>({1, 2});
    EXPECT_EQ(add(small, 5).to<int>(), (std::vector<int>{6, 7}));
    EXPECT_EQ(add(small, -5).to<int>(), (std::vector<int>{-4, -3}));
    EXPECT_THROW(add(small, 300), ValueError);
    EXPECT_THROW(add(small, 0.5), TypeError);
    EXPECT_EQ(add(small, 6).to<int>(), (std::vector<int>{7, 8}));
    EXPECT_EQ(compile([](const Tensor& n) { return n * 2; })(21).item<int>(), 42);
}

TEST(CompiledFunction, WhatIsCapturedIsFixedAndComputedOnce) {
    Tensor scale = values({4, 4});
    const Tensor first = scale, x = values({3, 4}, 2);
    double rate = 0.5;
    const auto f = [&](const Tensor& v) { return matmul(v, cumulative_sum(scale, 0)) * rate; };
    const auto g = compile(f);
    const Tensor expected = f(x).eval();
    EXPECT_TRUE(same_bits(g(x), expected));
    scale = scale * 2.0;
    rate = 7;
    const Statistics before = statistics();
    EXPECT_TRUE(same_bits(g(x), expected));
    EXPECT_EQ(statistics().misses, before.misses);
    scale = Tensor();
    EXPECT_TRUE(same_bits(g(x), expected));
    // A key drawn from is fixed too, and a captured value may be a result.
    const Tensor noise = random::normal(random::Key(3), {2});
    const auto draws = compile([&](const Tensor& v) { return std::pair(v + noise, first); });
    EXPECT_TRUE(same_bits(draws(ones({2})).first, draws(ones({2})).first));
    EXPECT_TRUE(same_bits(draws(ones({2})).second, first));
}

TEST(CompiledFunction, WhatIsCapturedIsKeptAsNarrowAsItIs) {
    const Tensor narrow = astype(values({64, 512}), DType::bfloat16).eval(), x = values({64, 512}, 2);
    const auto wide = [&] { return astype(narrow, DType::float32); };
    constexpr std::int64_t kWideBytes = 64 * 512 * 4;
    const auto kept = [&](const std::function<Tensor(const Tensor&)>& f) {
        const Tensor expected = f(x).eval();
        const auto g = compile(f);
        const std::int64_t before = memory_statistics().in_use;
        EXPECT_TRUE(same_bits(g(x), expected));
        return memory_statistics().in_use - before;
    };
    EXPECT_LT(kept([&](const Tensor& v) { return v * wide(); }), kWideBytes / 2);
    EXPECT_LT(kept([&](const Tensor& v) {
                  return reshape(v, {128, 256}) + reshape(wide(), {128, 256});
              }),
              kWideBytes / 2);
    EXPECT_LT(kept([&](const Tensor& v) { return softmax(v) * wide() - wide(); }), kWideBytes / 2);
    // A product would cast its operand again in every call. (Not all of its bytes: `in_use` is the process's, and what
    // earlier tests left may be freed meanwhile.)
    EXPECT_GT(kept([&](const Tensor& v) { return matmul(v, transpose(wide(), {1, 0})); }), kWideBytes / 2);
}

std::string error_of(const std::function<void()>& f) {
    try {
        f();
    } catch (const ValueError& e) {
        return e.what();
    }
    return "nothing was thrown";
}

TEST(CompiledFunction, ArgumentsHaveNoElementsWhileItIsRecorded) {
    const Tensor x = values({3});
    Tensor leaked;
    const auto reads = compile([](const Tensor& v) { return v * sum(v).item<float>(); });
    EXPECT_NE(error_of([&] { reads(x); }).find("compile: what depends on an argument"), std::string::npos);
    EXPECT_NE(error_of([&] { reads(x); }).find("recorded at"), std::string::npos);
    EXPECT_EQ(reads.signatures(), 0u);
    const auto number = compile([](const Tensor& v, const Tensor& n) { return v * n.item<double>(); });
    EXPECT_NE(error_of([&] { number(x, 2.0); }).find("a number that is an argument"), std::string::npos);
    const auto leaks = compile([&](const Tensor& v) {
        leaked = tanh(v);
        return leaked * 2.0;
    });
    EXPECT_TRUE(same_bits(leaks(x), tanh(x) * 2.0));
    EXPECT_NE(error_of([&] { leaked.eval(); }).find("nor outside it"), std::string::npos);
    EXPECT_TRUE(same_bits(leaks(x), tanh(x) * 2.0));
    const auto throws = compile([](const Tensor& v) { return matmul(v, zeros({7, 7})); });
    EXPECT_THROW(throws(x), ShapeError);
    EXPECT_THROW(compile([](const Tensor&) { return Tensor(); })(x), ValueError);
    EXPECT_THROW(leaks(Tensor()), ValueError);
}

TEST(CompiledFunction, ArgumentsOfAnotherFunctionAreRefused) {
    const Tensor x = values({3});
    Tensor argument, value, number, product;
    const auto leaks = compile([&](const Tensor& v, const Tensor& n) {
        argument = v, value = tanh(v), number = n, product = n * Tensor::from<float>({1, 2});
        return v * n;
    });
    leaks(x, 2.0);
    for (const Tensor& leaked : {argument, value, number, product}) {
        const auto uses = compile([&](const Tensor& v, const Tensor& n) { return std::pair(v * n, sum(leaked)); });
        EXPECT_NE(error_of([&] { uses(x, 3.0); }).find("compile: a"), std::string::npos);
        const auto returns = compile([&](const Tensor& v) { return std::pair(v * 2.0, leaked); });
        EXPECT_NE(error_of([&] { returns(x); }).find("compile: a"), std::string::npos);
        const auto takes = compile([](const Tensor& v, const Tensor& n) { return v * sum(n); });
        EXPECT_NE(error_of([&] { takes(x, leaked); }).find("compile: "), std::string::npos);
    }
    for (int i = 0; i < 3; ++i)  // also where the graph recurs
        for (const Tensor& leaked : {value, product})
            EXPECT_NE(error_of([&] { (leaked * 2.0).eval(); }).find("compile: "), std::string::npos);
    EXPECT_TRUE(same_bits(leaks(x, 3.0), x * 3.0));
    // A function within a function takes what the outer one took.
    const auto inner = compile([](const Tensor& v, const Tensor& n) { return tanh(v) * n; });
    const auto outer = compile([&](const Tensor& v, const Tensor& n) { return inner(v, n) + inner(v * 2.0, n); });
    for (const double n : {2.0, 3.0}) EXPECT_TRUE(same_bits(outer(x, n), tanh(x) * n + tanh(x * 2.0) * n));
}

TEST(CompiledFunction, FailuresNameTheOperationAndLeaveArguments) {
    const Tensor x = values({4});
    const auto pick = compile([](const Tensor& v, const Tensor& at) { return gather(exp(v), at) * 2.0; });
    const Tensor good = Tensor::from<std::int64_t>({1, 3}), bad = Tensor::from<std::int64_t>({1, 4});
    pick(x, good);
    EXPECT_NE(error_of([&] { pick(x, bad); }).find("gather -> (2,) float32, recorded at"), std::string::npos);
    EXPECT_TRUE(same_bits(pick(x, good), gather(exp(x), good) * 2.0));
    fail_allocation(1);
    const Tensor again = pick(x, good);  // node by node
    fail_allocation(0);
    EXPECT_TRUE(same_bits(again, pick(x, good)));
}

TEST(CompiledFunction, ResultsMayBeRepeatedArgumentsOrTheSameInEachCall) {
    const Tensor kept = values({3}, 7);
    const auto g = compile([&](const Tensor& x, const Tensor& y) {
        const Tensor sum = x + y;
        return std::vector<Tensor>{sum, y, kept, x * 2.0, sum, y};
    });
    for (const unsigned seed : {1u, 2u, 3u}) {
        const Tensor x = values({3}, seed), y = values({3}, seed + 10);
        const std::vector<Tensor> all = g(x, y);
        ASSERT_EQ(all.size(), 6u);
        for (const std::size_t i : {0u, 4u}) EXPECT_TRUE(same_bits(all[i], x + y));
        for (const std::size_t i : {1u, 5u}) EXPECT_TRUE(same_bits(all[i], y));
        EXPECT_TRUE(same_bits(all[2], kept));
        EXPECT_TRUE(same_bits(all[3], x * 2.0));
        EXPECT_EQ(all[0].node(), all[4].node());
    }
    EXPECT_EQ(g.signatures(), 1u);
}

TEST(CompiledFunction, RunsAsItIsWhereCompilingIsSwitchedOff) {
    Options off;
    off.compile = false;
    const auto f = [](const Tensor& x) { return tanh(x) * 2.0; };
    const auto g = compile(f);
    const Tensor x = values({5});
    {
        const WithOptions scope(off);
        EXPECT_TRUE(same_bits(g(x), f(x)));
        EXPECT_EQ(g.signatures(), 0u);
    }
    EXPECT_TRUE(same_bits(g(x), f(x)));
}

TEST(CompiledFunction, ArgumentsThatAreGivenUpLendTheirMemory) {
    const auto step = compile([](const Tree& p, const Tensor& g) {
        return tree_map([](const Tensor& a, const Tensor& b) { return a - b * 0.5; }, p, Tree({{"w", g}}));
    });
    const Tensor g = values({300}, 4);
    Tree p({{"w", values({300})}});
    const std::vector<float> before = p["w"].tensor().to<float>();
    const void* const at = p["w"].tensor().data<float>().data();
    const Tree kept = step(p, g);  // p stays
    EXPECT_NE(kept["w"].tensor().data<float>().data(), at);
    EXPECT_EQ(p["w"].tensor().to<float>(), before);
    p = step(std::move(p), g);
    EXPECT_EQ(p["w"].tensor().data<float>().data(), at);
    EXPECT_TRUE(same_bits(p["w"].tensor(), kept["w"].tensor()));
    // Another handle, or a view of the same memory, keeps it.
    const Tensor alias = p["w"].tensor();
    EXPECT_NE(step(std::move(p), g)["w"].tensor().data<float>().data(), at);
    EXPECT_TRUE(same_bits(alias, kept["w"].tensor()));
    Tensor w = values({300});
    const Tensor view = flip(w).eval();
    const std::vector<float> seen = view.to<float>();
    step(Tree({{"w", std::move(w)}}), g);
    EXPECT_EQ(view.to<float>(), seen);
}

}  // namespace
}  // namespace tenon
