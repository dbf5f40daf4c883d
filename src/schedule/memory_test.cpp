// Memory of leaves that die: it serves for results and intermediates, and never where somebody may still see it.
#include "schedule/memory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "base/storage.h"
#include "primitive/leaf.h"
#include "schedule/compile_testing.h"
#include "schedule/options.h"
#include "tenon/error.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using testing::compiled;
using testing::same_bits;
using testing::values;

const void* place_of(const Tensor& t) { return t.host().data; }

constexpr std::int64_t kBig = 128 * 128 * 4;  // bytes of a float32 tensor of 128 x 128

Tensor big(unsigned seed) { return values({128, 128}, seed); }

TEST(Peak, WhatFreesMemoryRunsFirst) {
    // The walk visits what z needs before the sum of a, so a is kept until then.
    const auto f = [](const Tensor& a) {
        const Tensor z = cumulative_min(cumulative_max(cumulative_min(a, 1), 1), 0);
        return sum(z) * sum(a);
    };
    const Tensor y = f(cumulative_max(big(1), 0));
    Options o;
    o.rows = false;
    const auto e = compiled({y}, o);
    EXPECT_TRUE(e->by_memory);
    EXPECT_LE(e->least_bytes, 2 * kBig + 1024);
    const WithOptions scope(o);
    EXPECT_NE(explain(y).find("an order that takes less memory"), std::string::npos);
}

/// exp and tanh could be one region, which would store both results from the beginning.
Tensor raises_the_peak(const Tensor& x) {
    const auto f = [](const Tensor& a) {
        const Tensor s = sum(cumulative_max(a, 0));
        return sum(matmul(s * values({1, 128}, 7), tanh(a)));
    };
    return f(exp(x));
}

/// Pointwise work of one operand, part of which is read much later: gelu's factors in its gradient.
TEST(Peak, WhatAnotherRegionAloneReadsIsComputedThere) {
    const Tensor x = big(1), w = big(2);
    const auto loss = [w](const Tree& t) { return sum(square(matmul(gelu(exp(t.tensor())), w))); };
    auto [value, gradient] = value_and_grad_at([&](const Tree& t) { return loss(t); }, Tree(x));
    const auto e = compiled({value, gradient.tensor()}, {});
    // exp(x) and gelu's result, which is later the product's cotangent: not three factors of the derivative.
    EXPECT_LE(e->least_bytes, 3 * kBig + 1024) << explain(value);
}

TEST(Peak, LargeNormsAndActivationsAreComputedAgain) {
    const std::vector<Tensor> w{values({256, 256}, 1), values({256, 256}, 2), values({256, 256}, 3)};
    const Tensor x = values({1024, 256}, 4);
    constexpr std::int64_t kRows = 1024 * 256 * 4;
    const auto gradients = [&] {
        auto [value, g] = value_and_grad_at(
            [&](const Tree& t) {
                Tensor y = x;
                for (const auto& [name, v] : t.children())
                    y = y + matmul(gelu(layer_norm(matmul(y, v.tensor()))), w[0]);
                return sum(square(y));
            },
            Tree({{"a", w[0]}, {"b", w[1]}, {"c", w[2]}}));
        std::vector<Tensor> all = g.leaves();
        all.push_back(value);
        return all;
    };
    const std::vector<Tensor> all = gradients();
    // Of each layer its operand, that of the norm and that of gelu, and what is at work.
    EXPECT_LE(compiled(all, {})->least_bytes, (3 * 3 + 4) * kRows) << explain(all);
    Options by_node;
    by_node.compile = false;
    std::vector<std::vector<float>> bits;
    for (int i = 0; i < 4; ++i) {
        const WithOptions scope(i == 0 ? by_node : Options());
        const std::vector<Tensor> now = gradients();
        eval(now);
        std::vector<float> flat;
        for (const Tensor& t : now)
            for (const float v : t.to<float>()) flat.push_back(v);
        bits.push_back(std::move(flat));
        EXPECT_EQ(std::memcmp(bits[0].data(), bits.back().data(), bits[0].size() * sizeof(float)), 0) << i;
    }
}

TEST(Peak, AFusionThatRaisesItIsDeclined) {
    const Tensor y = raises_the_peak(big(1));
    Options guarded, free, none;
    guarded.guarded_bytes = 0;
    none.pointwise = none.rows = none.epilogue = none.chain = none.prologue = none.grouped = false;
    const auto with = compiled({y}, guarded), without = compiled({y}, free), apart = compiled({y}, none);
    EXPECT_LE(with->least_bytes, apart->least_bytes);
    EXPECT_GT(without->least_bytes, apart->least_bytes + kBig / 2);
    const WithOptions scope(guarded);
    EXPECT_NE(explain(y).find("the peak of memory would be higher"), std::string::npos) << explain(y);
    EXPECT_EQ(explain(softmax(big(2))).find("the peak of memory would be higher"), std::string::npos);
}

TEST(Peak, OfRandomGraphsIsNotAboveThatWithoutFusion) {
    int fused = 0;
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        const testing::RandomGraph g = testing::random_graph(seed);
        std::vector<Tensor> out;
        {
            const std::vector<Tensor> all = g.record(g.values(seed));
            for (const std::size_t o : g.outputs) out.push_back(all[o]);
        }
        Options guarded, none;
        guarded.guarded_bytes = 0;
        guarded.ignore_cost = true;
        guarded.in_place = none.in_place = false;
        none.pointwise = none.rows = none.epilogue = none.chain = none.prologue = none.grouped = false;
        const auto with = compiled(out, guarded), without = compiled(out, none);
        EXPECT_LE(with->least_bytes, without->least_bytes) << seed;
        fused += with->tasks.size() < without->tasks.size();
    }
    EXPECT_GT(fused, 100);
}

TEST(Peak, OfCheckpointsIsLower) {
    const std::vector<Tensor> w{big(1), big(2), big(3), big(4), big(5), big(6)};
    const auto peak = [&](bool again) {
        const auto loss = [&](const Tree& t) {
            Tree x = t;
            for (const Tensor& each : w) {
                const TreeFunction layer = [each](const Tree& v) {
                    return Tree(matmul(tanh(cumulative_sum(tanh(matmul(v.tensor(), each)), 0)), each));
                };
                x = again ? checkpoint(layer)(x) : layer(x);
            }
            return sum(x.tensor());
        };
        auto [value, grads] = value_and_grad_at(loss, Tree(big(7)));
        return compiled({value, grads.tensor()})->least_bytes;
    };
    EXPECT_LT(peak(true), peak(false) * 3 / 4);
}

TEST(Donation, AnUpdatedParameterStaysWhereItIs) {
    const Tensor g = values({50}, 2);
    Tensor p = values({50});
    std::vector<float> expected = p.to<float>();
    const void* at = nullptr;
    for (int i = 0; i < 4; ++i) {
        p = p - g * 0.25;
        p.eval();
        for (std::size_t k = 0; k < expected.size(); ++k) expected[k] -= g.to<float>()[k] * 0.25f;
        EXPECT_EQ(p.to<float>(), expected);
        if (i > 0) {  // the first time it runs node by node
            EXPECT_EQ(place_of(p), at);
        }
        at = place_of(p);
    }
    const Tensor kept = p;
    p = p - g * 0.25;
    EXPECT_NE(place_of(p), at);
    EXPECT_EQ(kept.to<float>(), expected);
}

TEST(Donation, MomentsAndParametersOfAStepTakeNoNewMemory) {
    Tensor p = values({40, 30}), m = zeros({40, 30}).eval(), v = zeros({40, 30}).eval();
    const Tensor x = values({20, 40}, 3);
    const auto step = [&] {
        const Tensor g = matmul(transpose(x, {1, 0}), matmul(x, p));
        m = m * 0.9 + g * 0.1;
        v = v * 0.99 + g * g * 0.01;
        p = p - m * 0.1 / (sqrt(v) + 1e-6);
        eval({p, m, v});
    };
    step(), step();
    reset_peak_memory();
    const MemoryStatistics before = memory_statistics();
    step();
    const MemoryStatistics after = memory_statistics();
    EXPECT_LE(after.in_use, before.in_use);  // less where an older plan has left the cache meanwhile
    // An arena for the gradient and the product before it, and nothing for three results of 4800 bytes.
    EXPECT_LE(after.peak_in_use - before.in_use, 2 * 5120 + 4096);
}

TEST(Donation, ResultsAfterTheLastReadTakeWhatIsFree) {
    // The product reads x in blocks, again and again: its own result is elsewhere, the next one takes x's memory.
    Tensor x = values({32, 32}), last;
    const Tensor w = values({32, 32}, 2);
    const auto f = [&] {
        const Tensor first = matmul(x, w);
        last = cumulative_max(first, 0);
        x = first;
        eval({x, last});
    };
    f(), f();
    const void* const at = place_of(x);
    f();
    EXPECT_EQ(place_of(last), at);
    EXPECT_NE(place_of(x), at);
}

TEST(Donation, IntermediatesLieInAnInputThatHasBeenRead) {
    Tensor x = values({64, 64});
    const Tensor w = values({64, 64}, 2);
    const auto f = [&](const Tensor& t) { return sum(cumulative_max(cumulative_min(matmul(t, w), 0), 0)); };
    const Tensor pending = f(x);
    Node* const root = pending.node();
    Graph graph = collect({&root, 1});
    graph.dies.resize(graph.nodes.size());
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) graph.dies[i] = graph.nodes[i] == x.node();
    const auto e = compile(graph, {});
    verify(*e, graph);
    ASSERT_TRUE(e->spare.has_value());
    EXPECT_LT(e->spare->arena_bytes, e->arena_bytes);
    Options o;
    o.poison = o.verify = true;
    const WithOptions scope(o);
    const Tensor expected = f(x).eval();
    for (int i = 0; i < 4; ++i) {  // compiled where it dies; then where it does not
        Tensor again = values({64, 64}), y = f(again);
        if (i < 3) again = Tensor();
        EXPECT_TRUE(same_bits(y.eval(), expected));
    }
}

TEST(Donation, WhatIsSharedOrASliceOrForeignIsNotOverwritten) {
    std::vector<float> foreign(50, 1.0f);
    const auto f = [](const Tensor& t) { return t * 2.0 + 1.0; };
    f(values({50})).eval();
    const Tensor whole = values({2, 50});
    const std::vector<float> before = whole.to<float>();
    for (int i = 0; i < 3; ++i) {
        Tensor part = whole.at({0}).eval(), all = reshape(whole, {100}).eval();
        Tensor y = f(part), z = f(all);
        part = all = Tensor();
        eval({y, z});
        EXPECT_EQ(whole.to<float>(), before);
        Tensor theirs = Tensor::wrap(foreign.data(), DType::float32, Layout::contiguous({50}), {});
        y = f(theirs);
        theirs = Tensor();
        y.eval();
        EXPECT_EQ(foreign[7], 1.0f);
    }
}

TEST(Donation, AResultThatIsAViewOfTheInputKeepsIt) {
    for (int i = 0; i < 3; ++i) {
        Tensor x = values({6, 50});
        const std::vector<float> turned = transpose(x, {1, 0}).to<float>();
        Tensor view = transpose(x, {1, 0}), y = x * 2.0 + 1.0;
        x = Tensor();
        eval({y, view});
        EXPECT_EQ(view.to<float>(), turned);
    }
}

TEST(Donation, NothingIsOverwrittenBeforeAnIndexThatMayBeRefused) {
    Tensor kept;
    for (int i = 0; i < 4; ++i) {
        Tensor x = values({50});
        const Tensor at = Tensor::from<std::int64_t>({0, i < 3 ? 1 : 50});
        Tensor y = x * 2.0 + 1.0;
        const Tensor z = gather(tanh(y), at);
        x = Tensor();
        if (i < 3) {
            eval({y, z});
        } else {
            EXPECT_THROW(eval({y, z}), ValueError);
            EXPECT_TRUE(same_bits(y.eval(), values({50}) * 2.0 + 1.0));  // x is as it was
        }
    }
}

TEST(Donation, AGathersGradientRefusesNothingThatTheGatherDidNot) {
    Tensor table = values({40, 16}), w = values({16, 16}, 2);
    for (int i = 0; i < 5; ++i) {
        const Tensor at = Tensor::from<std::int64_t>({3, i < 4 ? 1 : 40, 3});
        const auto loss = [&](const Tree& t) {
            return sum(square(matmul(gather(t["table"].tensor(), at), t["w"].tensor())));
        };
        const void *const table_was = place_of(table), *const w_was = place_of(w);
        const auto before = w.to<float>();
        auto [value, g] = value_and_grad_at(loss, Tree({{"table", table}, {"w", w}}));
        // The table's gradient, which scatters, comes last.
        Tensor next_w = w - g["w"].tensor() * 0.01, next = table - g["table"].tensor() * (0.01 * sum(next_w));
        g = Tree();
        if (i < 4) {
            w = table = Tensor();
            eval({value, next_w, next});
            w = next_w, table = next;
            // From the third step on the plan is there.
            if (i > 1) {
                EXPECT_EQ(place_of(w), w_was);
                EXPECT_EQ(place_of(table), table_was);
            }
        } else {
            EXPECT_THROW(eval({value, next_w, next}), ValueError);
            EXPECT_EQ(w.to<float>(), before);
        }
    }
}

// A leaf may keep the nodes that it was computed from, and these may be leaves of the same graph, before it or after.
TEST(Release, ALeafThatDiesLetsGoOfItsInputsInTheSameGraph) {
    for (const bool before : {false, true})
        for (int i = 0; i < 4; ++i) {
            std::vector<float> memory{1, 2, 3};
            bool is_released = false;
            Tensor x =
                Tensor::wrap(memory.data(), DType::float32, Layout::contiguous({3}), [&] { is_released = true; });
            Tensor y = exp(x);
            {
                const Tracing tracing;
                y.eval();
            }
            const Tensor z = before ? x * y : y * x;
            x = y = Tensor();
            EXPECT_FALSE(is_released);
            z.eval();
            EXPECT_TRUE(is_released);
            EXPECT_FLOAT_EQ(z.to<float>()[2], 3 * std::exp(3.0f));
        }
}

/// A leaf whose kernel fails where the pointer says so.
bool fails = false;
Tensor may_fail() {
    Tensor t = iota(3, DType::float32);
    static Primitive p = *t.node()->primitive;
    p.run = nullptr;
    p.view = nullptr;
    p.reference = [](const Node&, std::span<const View>, const View& out) {
        if (fails) throw std::bad_alloc();
        std::fill_n(out.as<float>(), 3, 1.0f);
    };
    p.name = "may_fail";
    t.node()->primitive = &p;
    return t;
}

TEST(Donation, WhatAFailedEvaluationHasOverwrittenIsAnErrorFromThenOn) {
    for (int i = 0; i < 4; ++i) {
        Tensor x = values({50});
        Tensor y = x * 2.0 + 1.0;
        const Tensor z = may_fail();
        x = Tensor();
        fails = i == 3;
        if (fails) {
            EXPECT_THROW(eval({y, z}), MemoryError);
            try {
                y.eval();
                FAIL() << "the input was overwritten";
            } catch (const ValueError& e) {
                EXPECT_NE(std::string(e.what()).find("overwritten by an evaluation that failed"), std::string::npos);
            }
        } else {
            eval({y, z});
            EXPECT_TRUE(same_bits(y, values({50}) * 2.0 + 1.0));
        }
    }
    fails = false;
}

}  // namespace
}  // namespace tenon::schedule
