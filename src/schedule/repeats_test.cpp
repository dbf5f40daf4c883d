// Layers that repeat are compiled once, and compute what they would compute each for itself.
#include "schedule/repeats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "schedule/compile_testing.h"
#include "schedule/layers_testing.h"
#include "schedule/regroup.h"
#include "tenon/attention.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using testing::compiled;
using testing::loss_and_gradients;
using testing::values;

constexpr std::int64_t kWidth = 16, kHeads = 2, kLength = 6, kBatch = 3;

using Layer = Tensor (*)(const Tree&, const Tensor&);
Tensor transformer_layer(const Tree& p, const Tensor& x);

Tree layer_parameters(Layer layer, unsigned seed) {
    Tree t;
    const auto add = [&](const char* name, const Shape& s) { t.set(name, (values(s, ++seed) * 0.2).eval()); };
    add("up", {2 * kWidth, kWidth}), add("up_bias", {2 * kWidth}), add("down", {kWidth, 2 * kWidth});
    if (layer != &transformer_layer) return t;
    for (const char* name : {"query", "key", "value", "out"}) add(name, {kWidth, kWidth});
    add("norm1", {kWidth}), add("norm2", {kWidth});
    return t;
}

Tree parameters(Layer layer, int layers) {
    Tree t;
    for (int i = 0; i < layers; ++i)
        t.set("layer" + std::to_string(i), layer_parameters(layer, 100u * static_cast<unsigned>(i)));
    return t;
}

Tensor heads(const Tensor& x) {
    return permute_dims(reshape(x, {kBatch, kLength, kHeads, kWidth / kHeads}), {0, 2, 1, 3});
}

Tensor transformer_layer(const Tree& p, const Tensor& x) {
    const auto linear = [&](const Tensor& v, const char* name) {
        return matmul(v, matrix_transpose(p[name].tensor()));
    };
    const Tensor n = layer_norm(x, p["norm1"].tensor());
    const Tensor a =
        dot_product_attention(heads(linear(n, "query")), heads(linear(n, "key")), heads(linear(n, "value")));
    const Tensor y = x + linear(reshape(permute_dims(a, {0, 2, 1, 3}), x.shape()), "out");
    const Tensor m = layer_norm(y, p["norm2"].tensor());
    return y + linear(gelu(linear(m, "up") + p["up_bias"].tensor()), "down");
}

/// A residual block of pointwise work that joins across layers.
Tensor residual_layer(const Tree& p, const Tensor& x) {
    const Tensor h = maximum(matmul(x * 0.5, matrix_transpose(p["up"].tensor())) + p["up_bias"].tensor(), 0.0);
    return x + tanh(matmul(h, matrix_transpose(p["down"].tensor()))) * 0.25;
}

/// A block whose norm sums what the layer before gives: its sum may belong to either layer.
Tensor normed_layer(const Tree& p, const Tensor& x) {
    const Tensor h = gelu(matmul(layer_norm(x), matrix_transpose(p["up"].tensor())) + p["up_bias"].tensor());
    return x + matmul(h, matrix_transpose(p["down"].tensor()));
}

/// The loss and the next parameters, not computed. With `clip`, a norm of all gradients is in each of them.
std::vector<Tensor> step(Layer layer, const Tree& params, const Tensor& x, bool clip = false) {
    const auto [loss, grads] = loss_and_gradients(layer, params, x);
    const std::vector<Tensor> p = params.leaves(), g = grads.leaves();
    Tensor scale = full({}, 0.01, DType::float32);
    if (clip) {
        Tensor total = sum(square(g[0]));
        for (std::size_t i = 1; i < g.size(); ++i) total = total + sum(square(g[i]));
        scale = scale / (1.0 + sqrt(total));
    }
    std::vector<Tensor> all{loss};
    for (std::size_t i = 0; i < p.size(); ++i) all.push_back(p[i] - g[i] * scale);
    return all;
}

struct Counts {
    std::size_t regions, tasks;
};
Counts counts(Layer layer, int layers, bool clip = false, const Options& options = {}) {
    const auto e = compiled(step(layer, parameters(layer, layers), values({kBatch, kLength, kWidth}), clip), options);
    return {e->regions, e->tasks.size()};
}

TEST(Repeats, LayersAreCompiledOnce) {
    for (const Layer layer : {&transformer_layer, &residual_layer, &normed_layer})
        for (const bool clip : {false, true}) {
            const Counts some = counts(layer, 12, clip), more = counts(layer, 24, clip);
            // The norm of all gradients is a sum over all layers, in regions of a greatest length.
            EXPECT_LE(more.regions, some.regions + (clip ? 8 : 0));
            EXPECT_NEAR(static_cast<double>(more.tasks), 2.0 * static_cast<double>(some.tasks), clip ? 32 : 10);
            EXPECT_LT(more.regions, more.tasks / 2);
        }
}

/// Every computed base in the tasks of both, joined alike.
void expect_equal_tasks(const Executable& a, const Executable& b) {
    const auto sorted = [](const Executable& e) {
        std::vector<std::vector<std::uint32_t>> all;
        for (const Task& t : e.tasks) all.push_back(t.nodes);
        std::sort(all.begin(), all.end());
        return all;
    };
    EXPECT_EQ(sorted(a), sorted(b));
}

TEST(Repeats, TasksAreThoseOfLayersCompiledApart) {
    for (const Layer layer : {&transformer_layer, &residual_layer, &normed_layer})
        for (const bool ignore_cost : {false, true}) {
            Options options;
            options.ignore_cost = ignore_cost, options.grouped = true, options.verify = true;
            const std::vector<Tensor> roots = step(layer, parameters(layer, 9), values({kBatch, kLength, kWidth}));
            const auto shared = compiled(roots, options);
            options.repeats = false;
            const auto apart = compiled(roots, options);
            EXPECT_LT(shared->regions, apart->regions);
            EXPECT_EQ(apart->regions, apart->tasks.size());
            expect_equal_tasks(*shared, *apart);
        }
}

/// A graph of other extents, planned with the groups of the first.
std::unique_ptr<Executable> planned_again(const std::vector<Tensor>& first, const std::vector<Tensor>& other,
                                          const Options& options) {
    const auto graph = [](const std::vector<Tensor>& roots) {
        std::vector<Node*> nodes;
        for (const Tensor& t : roots) nodes.push_back(t.node());
        return collect(nodes);
    };
    std::shared_ptr<const KeptGroups> kept;
    compile(graph(first), options, &kept);
    const Graph g = graph(other);
    auto e = kept ? compile_again(g, options, *kept) : nullptr;
    if (e) verify(*e, g);
    return e;
}

TEST(Repeats, LayersOfAnotherSizeAreCompiledOnce) {
    for (const Layer layer : {&residual_layer, &normed_layer})
        for (const bool clip : {false, true})
            for (const bool ignore_cost : {false, true}) {
                Options options;
                options.ignore_cost = ignore_cost, options.verify = true;
                const Tree params = parameters(layer, 9);
                const auto of = [&](std::int64_t rows) { return step(layer, params, values({rows, kWidth}), clip); };
                const auto again = planned_again(of(4), of(7), options), whole = compiled(of(7), options);
                ASSERT_NE(again, nullptr);
                EXPECT_EQ(again->regions, whole->regions);
                EXPECT_LT(again->regions, again->tasks.size() - 40);
                expect_equal_tasks(*again, *whole);
            }
}

/// Layers that are equal at one size and not at another.
TEST(Repeats, LayersThatDifferAtAnotherSizeAreNotCompiledOnce) {
    const Tensor x = values({8, kWidth});
    const auto network = [&](std::int64_t odd) {
        Tensor y = x;
        for (int i = 0; i < 9; ++i) {
            const std::int64_t n = i == 4 ? odd : kWidth;
            const auto seed = 7u + static_cast<unsigned>(i);
            y = tanh(matmul(tanh(matmul(y, values({kWidth, n}, seed))), values({n, kWidth}, seed + 20)));
        }
        return y;
    };
    Options options;
    options.verify = true;
    EXPECT_NE(planned_again({network(kWidth)}, {network(kWidth)}, options), nullptr);
    EXPECT_EQ(planned_again({network(kWidth)}, {network(3 * kWidth)}, options), nullptr);
    testing::expect_same_bits([&] { return network(kWidth); });
    testing::expect_same_bits([&] { return network(3 * kWidth); });
}

TEST(Repeats, SameBitsAsNodeByNode) {
    for (const Layer layer : {&transformer_layer, &residual_layer, &normed_layer})
        for (const bool ignore_cost : {false, true}) {
            Options options;
            options.ignore_cost = ignore_cost, options.grouped = true;
            const Tree params = parameters(layer, 7);
            const Tensor x = values({kBatch, kLength, kWidth});
            for (const std::size_t root : {0, 1, 11, 20}) {
                const auto one = [&] { return step(layer, params, x)[root]; };
                testing::expect_same_bits(one, options);
            }
        }
}

/// What is not the same in each layer is compiled for itself.
TEST(Repeats, OtherLayersAreLeftAlone) {
    const Tensor x = values({8, kWidth});
    const auto network = [&](int odd, bool held, std::vector<Tensor>& kept) {
        Tensor y = x;
        for (int i = 0; i < 9; ++i) {
            const Tensor w = values({kWidth, kWidth}, 7u + static_cast<unsigned>(i));
            const Tensor z = matmul(y, i == odd ? transpose(w, {1, 0}) : w);
            y = i == odd && !held ? exp(z) : tanh(z);
            if (i == odd && held) kept.push_back(z);
        }
        return y;
    };
    for (const int odd : {0, 4, 8})
        for (const bool held : {false, true}) {
            std::vector<Tensor> kept;
            const auto f = [&] {
                kept.clear();
                return network(odd, held, kept);
            };
            Options options;
            options.verify = true;
            compiled({f()}, options);
            testing::expect_same_bits(f);
        }
}

/// Every layer reads one tensor that is computed, and all are read at the end.
TEST(Repeats, WhatAllLayersShare) {
    const Tensor x = values({8, kWidth}), w = values({kWidth, kWidth}, 2);
    for (const bool read_all : {false, true}) {
        const auto f = [&] {
            const Tensor gate = tanh(cumulative_sum(x, 0));
            Tensor y = x;
            std::vector<Tensor> all;
            for (int i = 0; i < 9; ++i) {
                y = y + gate * matmul(y, w) * 0.1;
                all.push_back(y);
            }
            return read_all ? concat(all, 0) : y * gate;
        };
        testing::expect_same_bits(f);
        if (!read_all) {
            const auto e = compiled({f()});
            EXPECT_LT(e->regions, e->tasks.size() - 5);
        }
    }
}

/// The groups of one layer, used for all, would wait for each other: then each layer is grouped for itself.
TEST(Repeats, GroupsInACircleAreMadeLayerByLayer) {
    Tree at;
    at.set("w", values({5, 5})), at.set("x", values({0}));
    const auto f = [&] {
        const auto [value, grads] = value_and_grad_at(
            [](const Tree& t) {
                const Tensor w = t["w"].tensor();
                Tensor y = t["x"].tensor();
                for (int i = 0; i < 6; ++i) {
                    const Tensor scale = sum(matmul(tanh(matmul(gelu(w), w)), w - max(w)));
                    y = relu(layer_norm(y, reshape(scale, {1})) * 0.5);
                }
                return sum(y);
            },
            at);
        eval({grads["w"].tensor(), grads["x"].tensor(), value});
        return grads["w"].tensor();
    };
    testing::expect_same_bits(f);
}

}  // namespace
}  // namespace tenon::schedule
