// Which tasks of a training step are marked, on graphs compiled for the host: no GPU is needed.
#include "schedule/device_chain.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "schedule/compile_testing.h"
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

TEST(DeviceChain, IntermediatesThatOnlyGradientsReadStayPacked) {
    for (const std::int64_t rank : {1, 2})
        for (const std::int64_t rows : {2048, 2000}) {
            LinearMap map = map::BlockTensorTrain::random(random::Key(1), 1024, 1024, {.rank = rank});
            map = map.with_parameters(map.parameters().map([](const Tensor& t) { return astype(t, DType::bfloat16); }));
            const auto halves = [&](unsigned seed) {
                return astype(testing::values({rows, 1024}, seed), DType::bfloat16).eval();
            };
            const Tensor x = halves(2), dy = halves(3);
            eval(map.parameters());
            const std::vector<Tensor> all = training_step(map, x, dy);
            std::vector<Node*> roots;
            for (const Tensor& t : all) roots.push_back(t.node());
            Options o = options();
            o.chain = true;
            const Graph graph = collect(roots, word(o));
            const auto e = compile(graph, o);
            pack_intermediates(*e, graph);
            const auto count = [&](Task::Kind kind) {
                return std::count_if(e->tasks.begin(), e->tasks.end(),
                                     [&](const Task& t) { return t.kind == kind && t.packed; });
            };
            EXPECT_EQ(count(Task::Kind::chain), rows % 128 ? 0 : 2) << rank << " " << rows;
            EXPECT_EQ(count(Task::Kind::kernel), rows % 128 ? 0 : 2) << rank << " " << rows;
        }
}

}  // namespace
}  // namespace tenon::schedule
