// Two products joined by views and pointwise work become one task, and have the bits of node by node.
#include "schedule/chain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "schedule/compile_testing.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/primitives.h"
#include "tenon/threads.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using testing::compiled;
using testing::expect_same_bits;
using testing::values;

std::int64_t count_of(const Executable& e, Task::Kind kind) {
    return std::count_if(e.tasks.begin(), e.tasks.end(), [&](const Task& t) { return t.kind == kind; });
}
std::int64_t chains(const Tensor& t, const Options& options = {}) {
    return count_of(*compiled({t}, options), Task::Kind::chain);
}

/// Whether a chain pays depends on how many threads share its rows.
struct Chain : ::testing::Test {
    Chain() { set_num_threads(2); }
    ~Chain() override { set_num_threads(0); }
};

struct Structure {
    const char* name;
    LinearMap map;
};

std::vector<Structure> structures() {
    const random::Key key(3);
    std::vector<Structure> all{{"low rank", map::LowRank::random(key, 320, 320, {.rank = 32})},
                               {"Kronecker", map::Kronecker::random(key, 1000, 1000)},
                               {"tensor train", map::TensorTrain::random(key, 1000, 1000, {.rank = 2})},
                               {"Monarch", map::Monarch::random(key, 1024, 1024, {.blocks = 32})},
                               {"block tensor train", map::BlockTensorTrain::random(key, 1024, 1024, {.rank = 2})}};
    for (Structure& s : all) eval(s.map.parameters().leaves());
    return all;
}

TEST_F(Chain, EachStructureOfTwoFactorsIsOne) {
    for (const auto& [name, map] : structures()) {
        const Tensor x = values({1200, map.in()});
        const auto f = [&, m = map] { return m(x); };
        EXPECT_EQ(chains(f()), 1) << name << "\n" << explain(f());
        EXPECT_EQ(compiled({f()})->tasks.size(), 1u) << name;
        expect_same_bits(f);
        Options apart;
        apart.chain = false;
        EXPECT_EQ(chains(f(), apart), 0) << name;
    }
}

TEST_F(Chain, SoIsItsGradientWithRespectToTheInput) {
    for (const auto& [name, map] : structures()) {
        const Tensor x = values({1200, map.in()}), ct = values({1200, map.out()}, 2);
        const auto f = [&, m = map] {
            auto [value, pull] = vjp([&](const Tree& t) { return Tree(m(t.tensor())); }, Tree(x));
            return pull(Tree(ct)).tensor();
        };
        EXPECT_EQ(chains(f()), 1) << name << "\n" << explain(f());
        expect_same_bits(f);
    }
}

TEST_F(Chain, InANetworkEachLayerIsOne) {
    const random::Key key(4);
    const LinearMap up = map::BlockTensorTrain::random(key, 1024, 1024, {.rank = 2}),
                    down = map::Monarch::random(key, 1024, 1024, {.blocks = 32});
    eval(up.parameters().leaves()), eval(down.parameters().leaves());
    const Tensor x = values({600, 1024}), b = values({1024}, 5);
    const auto f = [&] { return down(gelu(up(x) + b)) + x; };
    EXPECT_EQ(chains(f()), 2) << explain(f());
    for (const char* part : {"; intermediate: ", "not written and read", "tape: add"})
        EXPECT_NE(explain(f()).find(part), std::string::npos) << part << " is missing in\n" << explain(f());
    expect_same_bits(f);
}

// A multilayer perceptron whose intermediate is large beside its input and output.
TEST_F(Chain, PointwiseWorkBetweenIsInside) {
    const Tensor x = values({8000, 32}), w = values({32, 256}, 2), b = values({256}, 3), v = values({256, 16}, 4),
                 mask = values({8000, 256}, 5), ct = values({8000, 16}, 6);
    const auto f = [&] { return relu(matmul(x, w) + b); };
    const auto g = [&] { return matmul(f() * mask, v) * 0.5; };
    const auto e = compiled({g()});
    EXPECT_EQ(count_of(*e, Task::Kind::chain), 1) << explain(g());
    EXPECT_EQ(count_of(*e, Task::Kind::product) + count_of(*e, Task::Kind::tape), 0);
    expect_same_bits(g);
    // Without the gradient of the first weight, the backward pass has one too.
    const auto back = [&] {
        auto [value, pull] = vjp([&](const Tree& t) { return Tree(matmul(matmul(t.tensor(), w) * mask, v)); }, Tree(x));
        return pull(Tree(ct)).tensor();
    };
    EXPECT_EQ(chains(back()), 1) << explain(back());
    expect_same_bits(back);
}

// Reshapes that strides cannot express are copies, node by node; in a chain they are index maps.
TEST_F(Chain, CopiesBetweenAreIndexMaps) {
    const Tensor x = values({400, 32, 32}), w = values({32, 32, 32}, 2), v = values({1024, 24}, 3);
    const std::uint8_t lx[] = {0, 1, 2}, lw[] = {1, 2, 3}, lz[] = {0, 1, 3};
    const auto f = [&] {
        const Tensor z = transpose(contract(x, lx, w, lw, lz), {0, 2, 1});
        return matmul(reshape(z, {400, 1024}), v);
    };
    Options every;
    every.ignore_cost = true;
    EXPECT_EQ(chains(f(), every), 1);
    EXPECT_EQ(count_of(*compiled({f()}, every), Task::Kind::tape), 0);
    expect_same_bits(f, every);
    expect_same_bits(f);
}

TEST_F(Chain, WhatElseIsReadIsKept) {
    const Tensor x = values({300, 1024}), w = values({1024, 64}, 2), v = values({64, 1000}, 3), b = values({64}, 4);
    Options every;
    every.ignore_cost = true;
    every.guarded_bytes = std::int64_t{1} << 30;  // what is kept may raise the peak
    const Tensor z = matmul(x, w);  // held: it gets a value
    EXPECT_EQ(chains(matmul(z, v), every), 1);
    const auto twice = [&] {
        const Tensor y = matmul(x, w);
        return sum(matmul(y, v)) + sum(y);
    };
    EXPECT_EQ(chains(twice(), every), 1);
    expect_same_bits(twice, every);
    {
        const WithOptions scope(every);
        EXPECT_NE(explain(twice()).find("kept for others: the first product"), std::string::npos) << explain(twice());
    }
    // The first product, and what the tape makes of it, in another order of axes.
    const auto both = [&] {
        const Tensor y = matmul(x, w), h = tanh(transpose(y, {1, 0}) + reshape(b, {64, 1}));
        return sum(matmul(transpose(h, {1, 0}), v)) + sum(y) + sum(h);
    };
    EXPECT_EQ(chains(both(), every), 1);
    expect_same_bits(both, every);
    {
        const WithOptions scope(every);
        EXPECT_NE(explain(both()).find("kept for others: the first product and what the second reads"),
                  std::string::npos)
            << explain(both());
    }
}

TEST_F(Chain, AHeldIntermediateGetsItsValueFromTheChain) {
    const Tensor x = values({300, 40}), w = values({40, 64}, 2), v = values({64, 100}, 3);
    Options every, by_node;
    every.ignore_cost = every.poison = true;
    by_node.compile = false;
    const auto values_of = [&](const Options& o) {
        const WithOptions scope(o);
        Tensor z, y;
        for (int i = 0; i < 3; ++i) {
            z = matmul(x, w), y = matmul(tanh(z), v);
            eval({z, y});
        }
        return std::pair(z, y);
    };
    const auto [z, y] = values_of(every);
    const auto [expected_z, expected_y] = values_of(by_node);
    EXPECT_TRUE(testing::same_bits(z, expected_z));
    EXPECT_TRUE(testing::same_bits(y, expected_y));
}

TEST_F(Chain, LayersWithAllTheirGradientsAreChainsThatKeepTheIntermediate) {
    for (const auto& [name, map] : structures()) {
        const Tensor x = values({1200, map.in()}), ct = values({1200, map.out()}, 2);
        Options every;
        every.ignore_cost = true;
        const auto f = [&, m = map] {
            auto [value, pull] = vjp([&](const Tree& t) { return Tree(m.with_parameters(t["w"])(t["x"].tensor())); },
                                     Tree({{"x", x}, {"w", m.parameters()}}));
            Tensor all = sum(value.tensor());
            for (const Tensor& t : pull(Tree(ct)).leaves()) all = all + sum(t);
            return all;
        };
        EXPECT_EQ(chains(f(), every), 2) << name << "\n" << explain(f());
        expect_same_bits(f, every);
        expect_same_bits(f);
    }
}

TEST_F(Chain, WhatElseIsReadStaysApart) {
    const Tensor x = values({300, 1024}), w = values({1024, 64}, 2), v = values({64, 1000}, 3);
    Options every;
    every.ignore_cost = true;
    const auto square = [&] {
        const Tensor y = matmul(transpose(w, {1, 0}), w);
        return matmul(y, y);
    };
    EXPECT_EQ(chains(square(), every), 0);
    expect_same_bits(square, every);
}

TEST_F(Chain, WhatIsKeptMayNotLeadBackIntoTheChain) {
    const Tensor x = values({40, 30}), w = values({30, 50}, 2);
    Options every;
    every.ignore_cost = true;
    const auto f = [&] {
        const Tensor z = matmul(x, w);
        return matmul(z, transpose(exp(z), {1, 0}));
    };
    EXPECT_EQ(chains(f(), every), 0) << explain(f());
    expect_same_bits(f, every);
    const Tensor v = values({3});
    const auto g = [&] {
        const Tensor z = matmul(v, v);
        return reshape(sum(square(z + z)), {1}) * 1.0 + matmul(reshape(sum(square(z + z)), {1}), reshape(z, {1}));
    };
    expect_same_bits(g, every);
    // Neither pair leads back into itself, but each reads what the other keeps.
    const Tensor a = values({50, 20}, 3), b = values({20, 40}, 4);
    const auto h = [&] {
        const Tensor z = matmul(x, w), y = matmul(a, b);
        const Tensor first = matmul(z, y), second = matmul(y, z);
        return sum(first) + sum(second);
    };
    expect_same_bits(h, every);
}

// softmax(scale q k^T + mask) v, written out.
TEST_F(Chain, AttentionWrittenOutIsOne) {
    for (const DType type : {DType::float32, DType::bfloat16, DType::float64}) {
        const auto make = [&](const Shape& s, unsigned seed) { return astype(values(s, seed), type).eval(); };
        const Tensor q = make({2, 3, 90, 16}, 1), k = make({2, 3, 70, 16}, 2), v = make({2, 3, 70, 24}, 3),
                     mask = (values({90, 70}, 4) > 0).eval(), bias = make({3, 1, 70}, 5);
        const auto logits = [&] { return matmul(q, transpose(k, {0, 1, 3, 2})) * 0.25; };
        const std::function<Tensor()> ways[] = {
            [&] { return matmul(softmax(logits()), v); },
            [&] { return matmul(softmax(where(mask, logits(), -1e9)), v); },
            [&] { return matmul(softmax(logits() + bias), v); },
            // Rows and columns exchanged, and the intermediate as the second operand.
            [&] {
                return matmul(transpose(v, {0, 1, 3, 2}), softmax(matmul(k, transpose(q, {0, 1, 3, 2})), 2));
            },
            [&] {
                return matmul(softmax(matmul(q, reshape(make({16, 70}, 6), {1, 1, 16, 70}))), v);
            },
        };
        Options every, apart;
        every.ignore_cost = true;
        apart.chain = false;
        int number = 0;
        for (const auto& f : ways) {
            const auto e = compiled({f()}, every);
            if (number != 3) {  // there the reduction is not over the last axis
                EXPECT_EQ(count_of(*e, Task::Kind::chain), 1) << number << name(type) << explain(f());
                EXPECT_EQ(count_of(*e, Task::Kind::rows), 0) << number;
            }
            ++number;
            expect_same_bits(f, every);
            expect_same_bits(f, apart);
            expect_same_bits(f);
        }
    }
    const Tensor q = values({4, 1200, 32}), k = values({4, 1000, 32}, 2), v = values({4, 1000, 32}, 3);
    const auto large = [&] { return matmul(softmax(matmul(q, transpose(k, {0, 2, 1}))), v); };
    EXPECT_EQ(chains(large()), 1) << explain(large());
    EXPECT_NE(explain(large()).find("by blocks of rows; intermediate: "), std::string::npos) << explain(large());
    expect_same_bits(large);
    const Tensor few = values({4, 100, 32});
    const auto small = [&] { return matmul(softmax(matmul(few, transpose(k, {0, 2, 1}))), v); };
    EXPECT_EQ(chains(small()), 0);
    EXPECT_NE(explain(small()).find("the intermediate stays in cache as it is"), std::string::npos) << explain(small());
    // With its gradient the weights are read again.
    const auto back = [&] {
        auto [value, pull] = vjp([&](const Tree& t) { return Tree(matmul(softmax(matmul(few, t.tensor())), v)); },
                                 Tree(transpose(k, {0, 2, 1})));
        return pull(Tree(values({4, 100, 32}, 7))).tensor();
    };
    Options all;
    all.ignore_cost = true;
    expect_same_bits(back, all);
}

TEST_F(Chain, OtherRowsBetweenProductsAreOneToo) {
    const Tensor x = values({300, 40}), w = values({40, 64}, 2), u = values({64, 30}, 3), g = values({64}, 4),
                 b = values({64}, 5);
    Options every;
    every.ignore_cost = true;
    const auto f = [&] { return matmul(layer_norm(matmul(x, w), g, b), u); };
    EXPECT_EQ(chains(f(), every), 1) << explain(f());
    expect_same_bits(f, every);
    const auto h = [&] { return matmul(rms_norm(tanh(matmul(x, w)), g), u); };
    EXPECT_EQ(chains(h(), every), 1) << explain(h());
    expect_same_bits(h, every);
}

// Found by seed 1067001 of the random graphs' gradients.
TEST_F(Chain, AReductionOfMoreThanTheLastAxisIsNoneOfRows) {
    const Tensor x = values({3, 33, 8}), w = values({8, 40}, 2), u = values({40, 5}, 3);
    Options every;
    every.ignore_cost = true;
    const auto over = [&](const Axes& axes) {
        return [&, axes] {
            const Tensor z = matmul(x, w);
            return matmul(z - sum(z, axes, true), u);
        };
    };
    EXPECT_EQ(chains(over({2})(), every), 1);
    EXPECT_EQ(chains(over({1, 2})(), every), 0);
    EXPECT_EQ(chains(over({0, 1, 2})(), every), 0);
    for (const Axes& axes : {Axes{2}, Axes{1, 2}, Axes{0, 1, 2}}) expect_same_bits(over(axes), every);
}

TEST_F(Chain, ThreeProductsMakeOneChain) {
    const Tensor x = values({300, 40}), w = values({40, 50}, 2), v = values({50, 60}, 3), u = values({60, 20}, 4);
    Options every;
    every.ignore_cost = true;
    const auto f = [&] { return matmul(tanh(matmul(matmul(x, w), v)), u); };
    EXPECT_EQ(chains(f(), every), 1);
    expect_same_bits(f, every);
}

}  // namespace
}  // namespace tenon::schedule
