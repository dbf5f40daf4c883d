// Products that share an operand are one task, and the bits are those of node by node.
#include "schedule/grouped.h"

#include <gtest/gtest.h>

#include "schedule/compile_testing.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"
#include "tenon/threads.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using testing::compiled;
using testing::expect_same_bits;
using testing::same_bits;
using testing::values;

Options judged() {
    Options o;
    o.grouped = true;
    return o;
}
Options regardless() {
    Options o = judged();
    o.ignore_cost = true;
    return o;
}

/// The number of products of each grouped task.
std::vector<std::size_t> grouped(const std::vector<Tensor>& roots, const Options& options = regardless()) {
    std::vector<std::size_t> sizes;
    const auto e = compiled(roots, options);
    for (const Task& t : e->tasks)
        if (t.grouped) sizes.push_back(t.grouped->size());
    return sizes;
}
using Sizes = std::vector<std::size_t>;

struct Layer {
    Tensor x = values({64, 384}), q = values({384, 384}, 2), k = values({384, 384}, 3), v = values({384, 384}, 4);

    Tensor operator()() const {
        return concat({matmul(x, matrix_transpose(q)), matmul(x, matrix_transpose(k)) + 1.0,
                       tanh(matmul(x, matrix_transpose(v)))},
                      1);
    }
};

TEST(Grouped, QueriesKeysAndValues) {
    const Layer layer;
    EXPECT_EQ(grouped({layer()}), Sizes{3}) << explain(layer());
    Options off = regardless();
    off.grouped = false;
    EXPECT_EQ(grouped({layer()}, off), Sizes{});
    expect_same_bits([&] { return layer(); }, regardless());
}

TEST(Grouped, TheCostModelChoosesAndSaysSo) {
    const Layer layer;
    const WithOptions scope(judged());
    set_num_threads(2);
    EXPECT_NE(explain(layer()).find("grouped products: "), std::string::npos) << explain(layer());
    EXPECT_NE(explain(layer()).find("epilogue: tanh"), std::string::npos) << explain(layer());
    expect_same_bits([&] { return layer(); }, judged());
    set_num_threads(1);
    EXPECT_EQ(grouped({layer()}, judged()), Sizes{});
    EXPECT_NE(explain(layer()).find("not grouped with the product that shares an operand: one thread computes each"),
              std::string::npos)
        << explain(layer());
    set_num_threads(0);
}

TEST(Grouped, AGateAndWhatItLetsThrough) {
    const Tensor x = values({70, 200}), gate = values({200, 330}, 2), up = values({200, 330}, 3);
    const auto f = [&] {
        const Tensor g = matmul(x, gate);
        return g * sigmoid(g) * matmul(x, up);
    };
    EXPECT_EQ(grouped({f()}), Sizes{2}) << explain(f());
    EXPECT_EQ(compiled({f()}, regardless())->tasks.size(), 1u);
    const WithOptions scope(regardless());
    EXPECT_NE(explain(f()).find("which reads the one before tile by tile"), std::string::npos) << explain(f());
    expect_same_bits(f, regardless());
}

TEST(Grouped, GradientsOfWeightsAndOfWhatTheyShare) {
    const Layer layer;
    const auto gradients = [&] {
        const auto f = [&](const Tree& p) {
            const Tensor y = matmul(p["x"].tensor(), p["q"].tensor()) * matmul(p["x"].tensor(), p["k"].tensor());
            return sum(y * matmul(p["x"].tensor(), p["v"].tensor()));
        };
        return grad(f)(Tree({{"x", layer.x}, {"q", layer.q}, {"k", layer.k}, {"v", layer.v}}));
    };
    const Tree g = gradients();
    Options o = regardless();
    o.chain = false;
    const std::vector<Tensor> all{g["x"].tensor(), g["q"].tensor(), g["k"].tensor(), g["v"].tensor()};
    EXPECT_EQ(grouped(all, o), (Sizes{3, 3, 3})) << explain(all);
    for (const char* name : {"x", "q", "k", "v"}) expect_same_bits([&] { return gradients()[name].tensor(); }, o);
}

TEST(Grouped, NotWhereOneWaitsForAnother) {
    const Tensor x = values({64, 100}), w = values({100, 100}, 2);
    const auto chained = [&] { return matmul(tanh(matmul(x, w)), w); };
    Options o = regardless();
    o.chain = false;
    EXPECT_EQ(grouped({chained()}, o), Sizes{}) << explain(chained());
    expect_same_bits(chained, o);
    const auto softened = [&] {
        const Tensor p = matmul(x, w);
        return matmul(x, softmax(matmul(matrix_transpose(x), p))) + p;
    };
    EXPECT_EQ(grouped({softened()}, o), Sizes{}) << explain(softened());
    expect_same_bits(softened, o);
}

TEST(Grouped, OtherBatchSizesHaveOnePlan) {
    const Tensor w = values({96, 128}, 2), v = values({96, 128}, 3);
    const WithOptions scope(regardless());
    const std::int64_t before = statistics().planned_again;
    for (std::int64_t rows = 20; rows < 32; ++rows) {
        const Tensor x = values({rows, 96}, static_cast<unsigned>(rows));
        const auto f = [&] { return exp(matmul(x, w)) - softmax(matmul(x, v)); };
        Options by_node;
        by_node.compile = false;
        f().eval();
        const Tensor now = f().eval();
        const WithOptions inner(by_node);
        EXPECT_TRUE(same_bits(now, f().eval())) << rows;
    }
    EXPECT_GT(statistics().planned_again, before);
}

}  // namespace
}  // namespace tenon::schedule
