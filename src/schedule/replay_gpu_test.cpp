// Graphs that come back with the same memory are CUDA graphs: the same bits as without, whatever changes beside.
#include <gtest/gtest.h>

#include <cmath>

#include "cuda/device.h"
#include "cuda/gpu_testing.h"
#include "schedule/evaluate.h"
#include "schedule/options.h"
#include "schedule/random_graph_testing.h"
#include "tenon/compile.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/nn.h"
#include "tenon/optim.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using ReplayGpuTest = cuda::testing::GpuTest;
using testing::same_bits;

constexpr Device kGpu = Device::cuda(0);

Tensor numbers(const Shape& shape, std::uint64_t seed, DType dtype = DType::float32) {
    return to_device(astype(random::normal(random::Key(seed), shape), dtype), kGpu).eval();
}
Tensor back(const Tensor& t) { return to_device(t, Device::cpu()); }

struct Trained {
    std::vector<double> losses;
    std::vector<Tensor> params;
    std::int64_t graphs, launches;
};

/// Steps at a learning rate that changes, on batches of two buffers in turn; parameters are given up to each step, or
/// stay alive beside the new ones.
Trained trained(bool graphs, bool give_up, int steps, int fail_at = -1) {
    Options o = options();
    o.graphs = graphs;
    const WithOptions with(o);
    const Statistics before = statistics();
    const nn::Mlp model =
        nn::Mlp::random(random::Key(7), {.in = 64, .width = 64, .depth = 2, .classes = 10, .structure = "btt"});
    const optim::AdamW optimizer({.learning_rate = optim::warmup_cosine(1e-2, 3, 40), .weight_decay = 1e-2});
    Tree params = parameters(model), state = optimizer.init(params);
    params = params.map([](const Tensor& t) { return to_device(t, kGpu); });
    Tensor x[2], y[2];
    for (int i = 0; i < 2; ++i) {
        const random::Key key(100 + static_cast<std::uint64_t>(i));
        x[i] = numbers({32, 64}, key.value());
        y[i] = to_device(astype(floor(random::uniform(key.split(2)[1], {32}) * 10), DType::int64), kGpu).eval();
    }
    Trained t{{}, {}, 0, 0};
    for (int step = 0; step < steps; ++step) {
        if (step == fail_at) cuda::Gpu::at(0).fail_allocation(1, false);
        auto [loss, grads] = value_and_grad_at(
            [&](const Tree& p) { return cross_entropy(with_parameters(model, p)(x[step % 2]), y[step % 2]); }, params);
        grads = optim::clip_by_global_norm(grads, 1.0);
        if (give_up)
            std::tie(params, state) = optimizer.update(std::move(params), std::move(grads), std::move(state), {loss});
        else
            std::tie(params, state) = optimizer.update(params, grads, state, {loss});
        t.losses.push_back(loss.item<double>());
    }
    for (const Tensor& p : params.leaves()) t.params.push_back(back(p).eval());
    const Statistics after = statistics();
    t.graphs = after.graphs - before.graphs, t.launches = after.graph_launches - before.graph_launches;
    return t;
}

void expect_same(const Trained& a, const Trained& b) {
    EXPECT_EQ(a.losses, b.losses);
    ASSERT_EQ(a.params.size(), b.params.size());
    for (std::size_t i = 0; i < a.params.size(); ++i) EXPECT_TRUE(same_bits(a.params[i], b.params[i])) << i;
}

TEST_F(ReplayGpuTest, TrainingHasTheSameBits) {
    constexpr int kSteps = 30;
    const Trained plain = trained(false, true, kSteps);
    EXPECT_EQ(plain.launches, 0);
    for (const bool give_up : {true, false}) {
        const Trained t = trained(true, give_up, kSteps);
        expect_same(t, plain);
        EXPECT_LT(t.graphs, kSteps / 2) << give_up;
        // What is not given up has new memory each time.
        if (give_up) {
            EXPECT_GT(t.launches, kSteps / 2);
        }
    }
}

TEST_F(ReplayGpuTest, ShortMemoryTakesTheGraphsAway) {
    expect_same(trained(true, true, 20, 12), trained(false, true, 20));
}

TEST_F(ReplayGpuTest, NumbersOfEachRun) {
    const Tensor x = numbers({100, 8}, 1), y = numbers({100, 8}, 2);
    const Statistics before = statistics();
    for (int i = 0; i < 12; ++i) {
        const double factor = 1.5 + i;
        const Tensor z = sum(softmax(x * factor, 0) * y + factor * 2, 1) - i;
        const Tensor here = sum(softmax(back(x) * factor, 0) * back(y) + factor * 2, 1) - i;
        ASSERT_TRUE(same_bits(back(z), here)) << i;
    }
    EXPECT_GE(statistics().compiled_runs, before.compiled_runs);
}

TEST_F(ReplayGpuTest, ChainsAndTheirGradients) {
    const LinearMap map = map::BlockTensorTrain::random(random::Key(3), 1024, 1024, {.rank = 2});
    std::vector<Tensor> leaves;
    for (const Tensor& t : map.parameters().leaves())
        leaves.push_back(to_device(astype(t, DType::bfloat16), kGpu).eval());
    const LinearMap moved = map.with_parameters(map.parameters().with_leaves(leaves));
    const Tensor x = numbers({256, 1024}, 5, DType::bfloat16), dy = numbers({256, 1024}, 6, DType::bfloat16);
    const auto all = [&] {
        const Tree at({{"layer", moved.parameters()}, {"x", x}});
        const auto [y, pull] =
            vjp([&](const Tree& t) { return Tree(moved.with_parameters(t["layer"])(t["x"].tensor())); }, at);
        std::vector<Tensor> out = pull(Tree(dy)).leaves();
        out.push_back(y.tensor());
        eval(out);
        return out;
    };
    all();  // node by node, where core gradients are cuBLAS's
    std::vector<Tensor> first;
    for (const Tensor& t : all()) first.push_back(back(t).eval());
    const Statistics before = statistics();
    for (int i = 0; i < 8; ++i) {
        const std::vector<Tensor> again = all();
        for (std::size_t o = 0; o < again.size(); ++o)
            ASSERT_TRUE(same_bits(back(again[o]), first[o])) << i << ' ' << o;
    }
    EXPECT_GT(statistics().graph_launches, before.graph_launches);
}

TEST_F(ReplayGpuTest, AFunctionIsRecordedOnce) {
    int calls = 0;
    const auto f = tenon::compile([&](const Tree& p, const Tensor& x, const Tensor& rate) {
        ++calls;
        return p.map([&](const Tensor& t) { return t - rate * tanh(matmul(x, t)); });
    });
    Tree here({{"w", random::normal(random::Key(1), {32, 32})}});
    Tree there = here.map([](const Tensor& t) { return to_device(t, kGpu); });
    const Tensor x = random::normal(random::Key(2), {32, 32}), moved = to_device(x, kGpu);
    const Statistics before = statistics();
    for (int i = 0; i < 8; ++i) there = f(std::move(there), moved, 0.5 / (i + 1));
    EXPECT_EQ(calls, 1);
    EXPECT_GT(statistics().graph_launches, before.graph_launches) << "what is given up comes back";
    for (int i = 0; i < 8; ++i) here = f(std::move(here), x, 0.5 / (i + 1));
    EXPECT_EQ(calls, 2) << "another device is another signature";
    const auto a = back(there["w"].tensor()).to<double>(), b = here["w"].tensor().to<double>();
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4) << i;
}

TEST_F(ReplayGpuTest, NumbersAroundATensorAreRecorded) {
    for (const DType type : {DType::float64, DType::float32, DType::bfloat16})
        for (const double value : {0.0, 1.5}) {
            const auto f = tenon::compile([value](const Tensor& x) {
                return 0.5 * x + pad(slice(exp(x), {0, 0}, {20, 20}, {1, 1}), {4, 0}, {8, 12}, {}, value);
            });
            const Tensor start = astype(random::normal(random::Key(1), {32, 32}), type).eval();
            Tensor there = to_device(start, kGpu).eval(), here = start;
            const Statistics before = statistics();
            for (int i = 0; i < 3; ++i) here = f(here);
            for (int i = 0; i < 3; ++i) there = f(std::move(there));
            EXPECT_TRUE(testing::same_bits(back(there), here)) << name(type) << ' ' << value;
            for (int i = 0; i < 8; ++i) there = f(std::move(there));
            EXPECT_GT(statistics().graph_launches, before.graph_launches) << name(type) << ' ' << value;
        }
}

TEST_F(ReplayGpuTest, AFunctionOfTwoDevicesRunsAsItComes) {
    const Tensor w = random::normal(random::Key(3), {8, 8}).eval();  // on the host
    const auto f =
        tenon::compile([&](const Tensor& x) { return to_device(matmul(x, to_device(w, kGpu)), Device::cpu()) + w; });
    const auto g = tenon::compile([&](const Tensor& x) { return matmul(x, to_device(w, kGpu)); });
    for (int i = 0; i < 4; ++i) {
        const Tensor x = numbers({8, 8}, 40 + static_cast<std::uint64_t>(i));
        EXPECT_TRUE(same_bits(f(x), back(matmul(x, to_device(w, kGpu))) + w)) << i;
        EXPECT_TRUE(same_bits(back(g(x)), back(matmul(x, to_device(w, kGpu))))) << i;
        EXPECT_EQ(g(x).device(), kGpu);
    }
}

TEST_F(ReplayGpuTest, ResultsThatGoComeBackInTheSameMemory) {
    const Tensor a = numbers({64, 64}, 51), b = numbers({64, 64}, 52);
    const Tensor want = back(matmul(a, b)).eval();
    const Statistics before = statistics();
    for (int i = 0; i < 12; ++i) {
        const Tensor c = matmul(a, b);  // alone, and gone at the end of the step
        c.eval();
        if (i % 4 == 3) {
            ASSERT_TRUE(same_bits(back(c), want)) << i;
        }
    }
    EXPECT_GE(statistics().graph_launches - before.graph_launches, 4);
}

/// Its kernel is ours and begins early, so that it comes sooner by itself where it takes longer than its launch.
TEST_F(ReplayGpuTest, AProductOfAFewRowsIsLaunchedByItself) {
    if (cuda::Gpu::at(0).major() != 9) GTEST_SKIP() << "the kernel is of compute capability 9.0 alone";
    for (const std::int64_t columns : {2048, 4096}) {
        const Tensor a = numbers({16, 4096}, 61, DType::bfloat16), b = numbers({4096, columns}, 62, DType::bfloat16);
        const auto f = tenon::compile([](const Tensor& x, const Tensor& y) { return matmul(x, y); });
        const Statistics before = statistics();
        for (int i = 0; i < 12; ++i) f(a, b).eval();
        EXPECT_EQ(statistics().graph_launches > before.graph_launches, columns == 2048) << columns;
    }
}

TEST_F(ReplayGpuTest, WhatRunsOnTheHostIsNotRecorded) {
    const Tensor x = numbers({8, 8}, 9);
    const Tensor here = back(x);
    const auto f = [](const Tensor& t) { return astype(argsort(t * 2 + 1), DType::float32) * 3 + sum(t, 0); };
    const Statistics before = statistics();
    for (int i = 0; i < 6; ++i) ASSERT_TRUE(same_bits(back(f(x)), f(here))) << i;
    EXPECT_EQ(statistics().graphs, before.graphs);
}

}  // namespace
}  // namespace tenon::schedule
