// Which tasks of a training step are marked, on graphs compiled for a device: no GPU is needed.
#include "schedule/device_chain.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "schedule/compile_testing.h"
#include "schedule/hidden_testing.h"
#include "schedule/plan.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

std::vector<Tensor> training_step(const LinearMap& map, const Tensor& x, const Tensor& dy) {
    const Tree at({{"layer", map.parameters()}, {"x", x}});
    const auto [y, back] =
        vjp([&](const Tree& t) { return Tree(map.with_parameters(t["layer"])(t["x"].tensor())); }, at);
    std::vector<Tensor> all = back(Tree(dy)).leaves();
    all.push_back(y.tensor());
    return all;
}

LinearMap halves_of(const LinearMap& map) {
    const LinearMap halves =
        map.with_parameters(map.parameters().map([](const Tensor& t) { return astype(t, DType::bfloat16); }));
    eval(halves.parameters());
    return halves;
}

Tensor halves(std::int64_t rows, std::int64_t width, unsigned seed) {
    return astype(testing::values({rows, width}, seed), DType::bfloat16).eval();
}

struct Compiled {
    std::vector<Tensor> results;  // keep the graph's nodes
    Graph graph;
    std::unique_ptr<Executable> executable;

    std::ptrdiff_t count(Task::Kind kind, bool packed = false) const {
        return std::count_if(executable->tasks.begin(), executable->tasks.end(),
                             [&](const Task& t) { return t.kind == kind && (!packed || t.packed); });
    }
};

Compiled compiled(std::vector<Tensor> results, bool recompute) {
    Compiled c{std::move(results), {}, {}};
    std::vector<Node*> roots;
    for (const Tensor& t : c.results) roots.push_back(t.node());
    Options o = options();
    o.chain = o.verify = true;
    o.prologue = o.grouped = o.ignore_cost = false;  // as on a device
    o.recompute = recompute;
    c.graph = collect(roots, word(o));
    c.graph.device = Device::cuda(0);  // what pays on this host is not asked
    c.executable = compile(c.graph, o);
    verify(*c.executable, c.graph);
    return c;
}

/// A layer's forward pass and all its gradients.
Compiled compiled(const LinearMap& map, std::int64_t rows, bool recompute) {
    return compiled(training_step(map, halves(rows, map.shape()[1], 2), halves(rows, map.shape()[0], 3)), recompute);
}

Compiled compiled(std::int64_t width, std::int64_t rank, std::int64_t rows, bool recompute) {
    return compiled(halves_of(map::BlockTensorTrain::random(random::Key(1), width, width, {.rank = rank})), rows,
                    recompute);
}

TEST(DeviceChain, TasksThatAreJoinedAreNotCountedAsCompiledOnce) {
    for (const std::int64_t width : {1024, 4096}) {
        const Compiled c = compiled(width, 1, 1000, true);
        EXPECT_EQ(c.executable->regions, c.executable->tasks.size()) << "a single layer repeats nothing";
    }
}

TEST(DeviceChain, ALayerThatWidensIsOnePassWhereNobodyReadsTheIntermediate) {
    const LinearMap map = halves_of(map::BlockTensorTrain::random(random::Key(1), 16384, 4096, {.rank = 1}));
    for (const std::int64_t rows : {512, 1024})
        EXPECT_EQ(compiled({map(halves(rows, 4096, 2))}, false).count(Task::Kind::chain), rows / 1024) << rows;
    EXPECT_EQ(compiled(map, 1024, true).count(Task::Kind::chain), 0) << "the gradients of the cores read it";
}

TEST(DeviceChain, HiddenValuesAndTheirGradientsAreATaskEach) {
    // No checkpoint as gelu is: of tensors on the host those are recorded to be computed again for the product's
    // gradient (transform/linear_graph.cpp), and on a device they are not.
    const auto function = [](const Tensor& h) { return sin(h); };
    const testing::HiddenBlock block(Device::cpu());
    const Compiled c = compiled(block.step(block.draw(5, 64), block.draw(6, 64), function), true);
    EXPECT_EQ(c.count(Task::Kind::hidden), 1);
    EXPECT_EQ(c.count(Task::Kind::hidden_gradients), 1);
}

TEST(DeviceChain, HiddenValuesThatNobodyReadsAreNotStored) {
    const testing::HiddenBlock block(Device::cpu());
    const auto results = [&](std::int64_t rows, bool and_before = false) {
        const Tensor h = block.up(block.draw(5, rows));
        std::vector<Tensor> all{block.down(sin(h))};
        if (and_before) all.push_back(h);
        return all;
    };
    for (const std::int64_t rows : {64, 1024}) {  // of few rows the layer that widens is no pass, of many it would be
        const Compiled c = compiled(results(rows), true);
        EXPECT_EQ(c.count(Task::Kind::chain), 0) << rows;
        ASSERT_EQ(c.count(Task::Kind::hidden), 1) << rows;
        for (const Task& t : c.executable->tasks)
            if (t.kind == Task::Kind::hidden) {
                EXPECT_EQ(t.out.size(), 1u) << rows;
            }
    }
    const Compiled kept = compiled(results(1024, true), true);
    EXPECT_EQ(kept.count(Task::Kind::chain), 1) << "what is before the function is a result, too";
    EXPECT_EQ(kept.count(Task::Kind::hidden), 0);
    const Compiled other = compiled(results(1000), true);
    EXPECT_EQ(other.count(Task::Kind::hidden), 0) << "rows that fill no tiles";
}

TEST(DeviceChain, HiddenValuesReadElsewhereAreNotJoined) {
    const testing::HiddenBlock block(Device::cpu());
    Tensor hidden;
    const auto kept = [&](const Tensor& h) { return hidden = sin(h); };
    std::vector<Tensor> all = block.step(block.draw(5, 64), block.draw(6, 64), kept);
    all.push_back(sum(hidden));
    const Compiled c = compiled(std::move(all), true);
    EXPECT_EQ(c.count(Task::Kind::hidden), 0);
    EXPECT_EQ(c.count(Task::Kind::hidden_gradients), 0);
}

TEST(DeviceChain, IntermediatesThatOnlyGradientsReadStayPacked) {
    for (const std::int64_t rank : {1, 2})
        for (const std::int64_t rows : {256, 200}) {
            const Compiled c = compiled(16384, rank, rows, true);
            pack_intermediates(*c.executable, c.graph);
            // At rank 1 the gradient of a is computed in the backward pass, beside its result.
            EXPECT_EQ(c.count(Task::Kind::chain, true), rows % 64 ? 0 : rank) << rank << " " << rows;
            EXPECT_EQ(c.count(Task::Kind::kernel, true), rows % 64 ? 0 : rank) << rank << " " << rows;
            if (rank == 1) {
                EXPECT_EQ(c.executable->tasks.size(), 3u) << rows;
            }
        }
}

TEST(DeviceChain, IntermediatesThatOnlyGradientsReadAreComputedAgain) {
    for (const std::int64_t rank : {1, 2, 4}) {
        const Compiled c = compiled(1024, rank, 2000, true);
        EXPECT_EQ(c.count(Task::Kind::chain), 2) << rank;
        ASSERT_EQ(c.count(Task::Kind::core_gradients), 1) << rank;  // of both cores
        EXPECT_EQ(c.executable->tasks.size(), 3u);
        for (const Task& t : c.executable->tasks) {
            if (t.kind == Task::Kind::chain) {
                EXPECT_FALSE(t.chain->keeps_product);
                EXPECT_EQ(t.out.size(), 1u);
                continue;
            }
            ASSERT_EQ(t.out.size(), 2u);
            ASSERT_EQ(t.in.size(), 6u);
            for (int i : {0, 2})
                EXPECT_EQ(t.in[i].at.index, t.in[5 - i].at.index) << "what one reads first is the other's other";
        }
    }
}

TEST(DeviceChain, OneKernelGivesBothGradientsWhereTheirSumsFit) {
    for (const auto& [width, rank] : {std::pair{4096, 1}, {1024, 4}}) {
        const Compiled c = compiled(width, rank, 256, true);
        EXPECT_EQ(c.count(Task::Kind::core_gradients), 1) << width;
        EXPECT_EQ(c.executable->tasks.size(), 3u) << width;
    }
}

TEST(DeviceChain, ElsewhereTheBackwardPassGivesTheGradientOfItsSecondCore) {
    for (const std::int64_t rank : {2, 4}) {
        const Compiled c = compiled(4096, rank, 256, true);
        ASSERT_EQ(c.executable->tasks.size(), 3u) << rank;  // the pass forward, and the gradient of the other core
        EXPECT_EQ(c.count(Task::Kind::core_gradients), 1) << rank;
        const auto gives_two = [](const Task& t) {
            return t.kind == Task::Kind::chain && t.gradients && t.out.size() == 2 && !t.chain->keeps_product;
        };
        EXPECT_EQ(std::count_if(c.executable->tasks.begin(), c.executable->tasks.end(), gives_two), 1) << rank;
    }
}

TEST(DeviceChain, OtherLayersAreTwoProductsAndSayWhy) {
    const auto reasons = [](const LinearMap& map) {
        const Compiled c = compiled(halves_of(map), 256, true);
        EXPECT_EQ(c.count(Task::Kind::chain), 0);
        std::string all;
        for (const Task& t : c.executable->tasks) all += std::string(t.apart) + "\n";
        return all;
    };
    using map::BlockTensorTrain;
    EXPECT_NE(reasons(BlockTensorTrain::random(random::Key(1), 4096, 4096, {.rank = 3})).find("ranks other than"),
              std::string::npos);
    EXPECT_NE(reasons(BlockTensorTrain::random(random::Key(1), 2304, 2304, {.rank = 1})).find("blocks other than"),
              std::string::npos);
    EXPECT_NE(reasons(BlockTensorTrain::random(random::Key(1), 4096, 1024, {.rank = 1})).find("not equal"),
              std::string::npos);
}

TEST(DeviceChain, AKroneckerLayerIsAChainForwardAndBackward) {
    const LinearMap map = halves_of(map::random("kronecker", random::Key(1), 4096, 4096));
    for (const std::int64_t rows : {1, 64, 300}) {
        const Compiled c = compiled(map, rows, true);
        EXPECT_EQ(c.count(Task::Kind::chain), 2) << rows;
        EXPECT_EQ(c.executable->tasks.size(), 4u) << rows << ": and the gradients of two cores";
        match_chains(*c.executable);
        for (const Task& t : c.executable->tasks)
            if (t.kind == Task::Kind::chain) {
                EXPECT_TRUE(t.matched);
                EXPECT_EQ(t.out.size(), 2u) << "the intermediate is kept for a gradient";
            }
    }
}

TEST(DeviceChain, AFewRowsAreAChainToo) {
    for (const std::int64_t rows : {1, 3, 16}) {
        const LinearMap map = halves_of(map::BlockTensorTrain::random(random::Key(1), 4096, 4096, {.rank = 2}));
        const Tensor y = map(halves(rows, 4096, 2));
        Node* const root = y.node();
        Options o = options();
        o.chain = o.verify = true;
        o.prologue = o.grouped = o.ignore_cost = false;
        Graph graph = collect(std::span<Node* const>(&root, 1), word(o));
        graph.device = Device::cuda(0);
        const auto executable = compile(graph, o);
        ASSERT_EQ(executable->tasks.size(), 1u) << rows;
        EXPECT_EQ(executable->tasks[0].kind, Task::Kind::chain) << rows;
        match_chains(*executable);
        EXPECT_TRUE(executable->tasks[0].matched);
    }
}

TEST(DeviceChain, OtherIntermediatesAreKept) {
    EXPECT_EQ(compiled(1024, 2, 2004, true).count(Task::Kind::core_gradients), 0);  // what is kept comes in eights
    EXPECT_EQ(compiled(4096, 1, 60, true).count(Task::Kind::core_gradients), 0);
}

}  // namespace
}  // namespace tenon::schedule
