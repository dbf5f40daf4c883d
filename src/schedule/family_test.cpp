// Graphs of one structure and other extents: planned again from those that were compiled, with the bits of node by
// node.
#include "schedule/family.h"

#include <gtest/gtest.h>

#include "primitive/leaf.h"
#include "schedule/compile_testing.h"
#include "schedule/options.h"
#include "tenon/compile.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/primitives.h"
#include "tenon/transform.h"

namespace tenon {
namespace {

using schedule::Options;
using schedule::Statistics;
using schedule::statistics;
using schedule::WithOptions;
using schedule::testing::same_bits;
using schedule::testing::values;

/// What a run of f on x made and used; the bits are compared with those of node by node.
struct Counts {
    std::int64_t compiled, planned_again, compiled_runs;
    friend bool operator==(const Counts&, const Counts&) = default;
};
Counts counts_of(const std::function<std::vector<Tensor>(const Tensor&)>& f, const Tensor& x) {
    Options by_node, strict;
    by_node.compile = false;
    strict.verify = strict.poison = true;
    Counts counts;
    std::vector<Tensor> got;
    {
        const WithOptions scope(strict);
        const Statistics before = statistics();
        got = f(x);
        eval(got);
        const Statistics after = statistics();
        counts = {after.compiled - before.compiled, after.planned_again - before.planned_again,
                  after.compiled_runs - before.compiled_runs};
    }
    const WithOptions scope(by_node);
    const std::vector<Tensor> expected = f(x);
    eval(expected);
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(same_bits(got[i], expected[i])) << i;
    return counts;
}

std::ostream& operator<<(std::ostream& out, const Counts& c) {
    return out << c.compiled << " compiled, " << c.planned_again << " planned again, " << c.compiled_runs << " runs";
}

const Counts kByNode{0, 0, 0}, kCompiled{1, 0, 1}, kPlannedAgain{0, 1, 1}, kFound{0, 0, 1};

TEST(Family, OneBatchSizeIsCompiledAndThenPlannedAgain) {
    const Tree params({{"up", values({12, 30})}, {"bias", values({30}, 2)}, {"down", values({30, 12}, 3)}});
    const auto loss = [](const Tree& p, const Tensor& x) {
        const Tensor h = gelu(matmul(layer_norm(x), p["up"].tensor()) + p["bias"].tensor());
        return mean(square(x + matmul(h, p["down"].tensor())));
    };
    const auto step = [&](const Tensor& x) {
        auto [value, grads] = value_and_grad(loss)(params, x);
        std::vector<Tensor> all = grads.leaves();
        all.push_back(value);
        return all;
    };
    const auto of = [&](std::int64_t n) { return counts_of(step, values({n, 12}, static_cast<unsigned>(n))); };
    EXPECT_EQ(of(8), kByNode);
    EXPECT_EQ(of(8), kCompiled);
    EXPECT_EQ(of(20), kPlannedAgain);  // at once: its family has been compiled
    EXPECT_EQ(of(12), kPlannedAgain);
    for (const std::int64_t n : {16, 5, 64, 2, 700}) EXPECT_EQ(of(n), kPlannedAgain) << n;
    for (const std::int64_t n : {16, 5, 20}) EXPECT_EQ(of(n), kFound) << n;
    EXPECT_EQ(of(1), kPlannedAgain);  // an axis of one element is special: with the groups of the first
    const Tensor x = values({17, 12}, 17);
    eval(step(x));
    EXPECT_NE(why_recompiled().find("has shape (17, 12), not ("), std::string::npos) << why_recompiled();
}

/// Two products are a chain from some number of rows on.
TEST(Family, CostsAreAskedAgainForMuchLargerGraphs) {
    const LinearMap monarch = map::Monarch::random(random::Key(1), 1024, 1024);
    const Options o;
    const WithOptions scope(o);
    const auto of = [&](std::int64_t rows) { return monarch(values({rows, 1024})); };
    for (const std::int64_t rows : {4, 4, 5, 6}) of(rows).eval();
    for (const std::int64_t rows : {2048, 7, 2047}) {
        const Tensor y = of(rows);
        Node* root = y.node();
        const auto lock = schedule::lock_evaluator();
        const schedule::Graph graph = schedule::collect({&root, 1}, schedule::word(o));
        const auto kinds = [](const schedule::Executable& e) {
            std::vector<schedule::Task::Kind> all;
            for (const schedule::Task& t : e.code().tasks) all.push_back(t.kind);
            return all;
        };
        const auto executable = schedule::executable_of(graph, o);
        ASSERT_TRUE(executable);
        EXPECT_EQ(kinds(*executable), kinds(*schedule::compile(graph, o))) << rows;
    }
}

TEST(Family, SlicesAndLeavesWithStridesMoveAlong) {
    const Tensor all = values({40, 6, 10});
    const auto f = [&](std::int64_t start, std::int64_t n) {
        return [&all, start, n](const Tensor& x) {
            const Tensor part = slice(all, {start, 0, 0}, {start + 3, 6, 10}, {1, 1, 1});
            return std::vector<Tensor>{tanh(matmul(part, x)), reshape(transpose(x, {1, 0}), {2 * n, 5}) * 2.0};
        };
    };
    const auto of = [&](std::int64_t start, std::int64_t n) {
        return counts_of(f(start, n), transpose(values({n, 10}, 9), {1, 0}).eval());
    };
    EXPECT_EQ(of(0, 4), kByNode);
    EXPECT_EQ(of(0, 4), kCompiled);
    EXPECT_EQ(of(2, 6), kPlannedAgain);
    EXPECT_EQ(of(4, 8), kPlannedAgain);
    EXPECT_EQ(of(10, 14), kPlannedAgain);
    EXPECT_EQ(of(20, 24), kPlannedAgain);
    EXPECT_EQ(of(21, 24), kPlannedAgain);  // off the line: with the groups of the first
}

/// A diagonal's elements lie further apart as there are more of them: where its last one lies grows with a square.
TEST(Family, TheEndOfADiagonalIsOnNoLine) {
    const auto ends = [](const Tensor& x) {
        return std::vector<Tensor>{flip(diagonal(x, 1)) * 2.0, diagonal(x) * 2.0};
    };
    const auto end = [](const Tensor& x) { return std::vector<Tensor>{flip(diagonal(x, 1))}; };
    for (std::vector<Tensor> (*f)(const Tensor&) : {+ends, +end})
        for (const std::int64_t n : {17, 17, 18, 19, 20, 31, 40, 17, 23}) counts_of(f, values({130, n}));
}

TEST(Family, WhatGrowsWithASquareIsPlannedAndThenWaitsForItsSecondTime) {
    const auto f = [](const Tensor& x) { return std::vector<Tensor>{softmax(matmul(x, transpose(x, {1, 0}))) * 2.0}; };
    const auto of = [&](std::int64_t n) { return counts_of(f, values({n, 7}, static_cast<unsigned>(n))); };
    EXPECT_EQ(of(8), kByNode);
    EXPECT_EQ(of(8), kCompiled);
    int again = 0;
    for (std::int64_t n = 9; n < 24; ++n) again += of(n) == kPlannedAgain;
    EXPECT_EQ(again, 7);
    EXPECT_EQ(of(30), kByNode);
    EXPECT_EQ(of(30), kPlannedAgain);
}

TEST(Family, ConstantsFollowTheGraphUnlessTheyDecided) {
    const auto mean_and_its_slope = [](const Tensor& x) {
        auto [value, grads] = value_and_grad([](const Tree& t) { return mean(t.tensor() * t.tensor()); })(Tree(x));
        return std::vector<Tensor>{value, grads.tensor()};
    };
    for (const std::int64_t n : {8, 8, 12, 16}) counts_of(mean_and_its_slope, values({n, 3}));
    EXPECT_EQ(counts_of(mean_and_its_slope, values({9, 3})), kPlannedAgain);
    // A product with one is left out: the plan is for ones alone, however the one comes about.
    double factor = 1;
    const auto scaled = [&](const Tensor& x) {
        const DType t = x.dtype();
        const auto n = static_cast<double>(x.shape()[0]);
        return std::vector<Tensor>{tanh(x * (constant(n, t) * constant(factor / n, t)))};
    };
    for (const std::int64_t n : {8, 8, 16, 32}) counts_of(scaled, values({n, 3}));
    counts_of(scaled, values({41, 3}));
    factor = 3;
    counts_of(scaled, values({64, 3}));
}

TEST(Family, CompiledFunctionsPlanAgainToo) {
    const Tensor w = values({10, 10});
    const auto f = [&](const Tensor& x) { return softmax(matmul(x, w) * 0.5); };
    const auto g = compile(f);
    for (const std::int64_t n : {4, 8, 12}) EXPECT_TRUE(same_bits(g(values({n, 10})), f(values({n, 10}))));
    std::vector<Tensor> xs;
    for (const std::int64_t n : {6, 9}) xs.push_back(values({n, 10}));
    const Statistics before = statistics();
    for (const Tensor& x : xs) g(x);
    EXPECT_EQ(statistics().planned_again - before.planned_again, 2);
    EXPECT_EQ(statistics().compiled, before.compiled);
    for (const Tensor& x : xs) EXPECT_TRUE(same_bits(g(x), f(x)));
}

TEST(Family, BytesAreCountedAndGivenBack) {
    using namespace schedule;
    const Tensor w = values({10, 10});
    std::vector<Tensor> graphs;
    for (std::int64_t n = 2; n < 40; ++n) graphs.push_back(tanh(matmul(values({n, 10}), w)) * 2.0);
    for (std::int64_t n = 2; n < 40; ++n) graphs.push_back(exp(matmul(values({n, 10}), w)) * 2.0);
    PlanCache cache(20000);
    std::size_t most = 0;
    for (const Tensor& t : graphs) {
        Node* root = t.node();
        const Graph graph = collect({&root, 1});
        Plan* plan = cache.find(graph);
        const std::size_t before = plan->family->bytes();
        if (!plan->family->is_general()) {
            plan->family->add(plan->steps, compile(graph, {}));
            cache.grow_family(*plan, before);
        }
        most = std::max(most, cache.bytes());
        std::size_t counted = 0;
        std::vector<const Family*> families;
        for (const Plan& p : cache.plans()) {
            counted += p.bytes;
            if (std::find(families.begin(), families.end(), p.family.get()) == families.end())
                families.push_back(p.family.get());
        }
        for (const Family* f : families) counted += f->bytes();
        EXPECT_EQ(cache.bytes(), counted);
        if (cache.size() > 1) {
            EXPECT_LE(cache.bytes(), 20000u);
        }
    }
    EXPECT_GT(most, 10000u);
}

}  // namespace
}  // namespace tenon
