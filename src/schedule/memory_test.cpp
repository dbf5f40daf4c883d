// Memory of leaves that die: it serves for results and intermediates, and never where somebody may still see it.
#include "schedule/memory.h"

#include <gtest/gtest.h>

#include <new>
#include <vector>

#include "base/storage.h"
#include "primitive/leaf.h"
#include "schedule/compile_testing.h"
#include "schedule/options.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"

namespace tenon::schedule {
namespace {

using testing::same_bits;
using testing::values;

const void* place_of(const Tensor& t) { return t.host().data; }

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
    EXPECT_EQ(after.in_use, before.in_use);
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
    t.node()->hash += 1;
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
