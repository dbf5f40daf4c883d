// What compilation makes of graphs: which nodes run together, what memory they take, and what it leaves alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/storage.h"
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "schedule/compile_testing.h"
#include "schedule/faults_testing.h"
#include "schedule/options.h"
#include "tenon/error.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"
#include "tenon/profile.h"
#include "tenon/random.h"
#include "tenon/threads.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using Kind = Task::Kind;

using testing::compiled;
using testing::expect_same_bits;
using testing::values;

std::unique_ptr<Executable> compiled(const Tensor& root, const Options& options = {}) {
    return testing::compiled({root}, options);
}

std::vector<Kind> kinds(const Executable& e) {
    std::vector<Kind> all;
    for (const Task& t : e.tasks)
        if (t.kind != Kind::kernel || !t.in.empty()) all.push_back(t.kind);  // run-time scalars aside
    return all;
}

const std::vector<Kind> kRows{Kind::rows}, kTape{Kind::tape}, kProduct{Kind::product};

TEST(Compile, NormsAndSoftmaxAreOneRegion) {
    const Tensor x = values({32, 48}), w = values({48}), b = values({48});
    EXPECT_EQ(kinds(*compiled(softmax(x))), kRows);
    EXPECT_EQ(kinds(*compiled(log_softmax(x))), kRows);
    EXPECT_EQ(kinds(*compiled(layer_norm(x, w, b))), kRows);
    EXPECT_EQ(kinds(*compiled(rms_norm(x, w))), kRows);
    EXPECT_EQ(kinds(*compiled(softmax(reshape(x, {4, 8, 48}) + reshape(w, {1, 1, 48})))), kRows);
    EXPECT_EQ(kinds(*compiled(layer_norm(astype(x, DType::bfloat16)))), kRows);
}

TEST(Compile, FewLongRowsAreOneRegionWhereEachThreadGetsTwo) {
    const Tensor few = values({3, 20000}), more = values({4, 20000});
    set_num_threads(2);
    EXPECT_EQ(kinds(*compiled(softmax(more))), kRows);
    EXPECT_NE(kinds(*compiled(softmax(few))), kRows);
    set_num_threads(1);
    EXPECT_EQ(kinds(*compiled(softmax(few))), kRows);
    set_num_threads(0);
}

// No operand in memory tells how long such rows are: a value of each row, repeated along it, does not.
TEST(Compile, RowsAreNotMadeOfRepeatedValuesOnly) {
    const Tensor x = values({1}), long_row = values({4, 5, 130});
    Options o;
    for (const bool simplify : {false, true}) {
        o.simplify = simplify;
        expect_same_bits(
            [&] {
                const Tensor y = floor(x), repeated = transpose(broadcast_to(square(y), {4, 3}), {1, 0});
                return sum(astype(astype(repeated, DType::bfloat16), DType::float32)) + sum(y + long_row);
            },
            o);
    }
}

TEST(Compile, SoAreTheirGradients) {
    const Tensor x = values({32, 48}), ct = values({32, 48}, 2);
    for (Tensor (*f)(const Tensor&) :
         {+[](const Tensor& v) { return softmax(v); }, +[](const Tensor& v) { return layer_norm(v); },
          +[](const Tensor& v) { return rms_norm(v); }}) {
        auto [value, pull] = vjp([&](const Tree& t) { return Tree(f(t.tensor())); }, Tree(x));
        EXPECT_EQ(kinds(*compiled({value.tensor(), pull(Tree(ct)).tensor()})), kRows);
    }
}

// What is picked of each row is part of the pass over rows in the gradient: nothing is scattered to zeros.
TEST(Compile, TheGradientOfCrossEntropyIsOnePassOverTheRows) {
    const Tensor x = values({32, 48}), labels = random::randint(random::Key(3), {32}, 0, 48).eval();
    for (const double smoothing : {0.0, 0.1}) {
        auto [loss, pull] =
            vjp([&](const Tree& t) { return Tree(cross_entropy(t.tensor(), labels, smoothing)); }, Tree(x));
        const Tensor gradient = pull(Tree(Tensor(1.0f))).tensor();
        int passes = 0;
        const auto executable = compiled({loss.tensor(), gradient});
        for (const Task& t : executable->tasks)
            passes += t.kind == Kind::rows && !t.out.empty() && t.out.back().view.shape().rank() == 2;
        EXPECT_EQ(passes, 1);
        const std::string text = explain({loss.tensor(), gradient});
        EXPECT_EQ(text.find("scatter"), std::string::npos) << text;
    }
}

TEST(Compile, PointwiseWorkIsOnePass) {
    const Tensor x = values({6, 40}), y = values({40});
    EXPECT_EQ(kinds(*compiled(gelu(x * y + 0.5))), kTape);
    // A reshape disappears, a transpose of a stored tensor becomes strides, and several results are of one region.
    const Tensor t = transpose(x, {1, 0}), z = tanh(t) + 1.0;
    EXPECT_EQ(kinds(*compiled({z, reshape(z, {4, 60}) * 2.0})), kTape);
    const auto e = compiled({exp(x), exp(x) + 1.0});
    EXPECT_EQ(kinds(*e), kTape);
    EXPECT_EQ(e->tasks.back().tape.code.size(), 2u);
}

TEST(Compile, NeighbouringSlicesAreConcatenatedWhereTheyAre) {
    const Tensor x = values({4, 6, 5});
    const auto joined = [&](std::initializer_list<std::int64_t> at, int axis) {
        const Tensor y = exp(x);
        std::vector<Tensor> parts;
        for (const std::int64_t i : at) parts.push_back(slice(y, {0, i, 0}, {4, i + 2, 5}, {1, 1, 1}));
        return concat(parts, axis);
    };
    // Without handles to intermediates.
    const auto f = [&](std::initializer_list<std::int64_t> at, int axis) { return exp(joined(at, axis)); };
    EXPECT_EQ(kinds(*compiled(f({0, 2, 4}, 1))), kTape);
    expect_same_bits([&] { return f({0, 2, 4}, 1); });
    // Others are copies: in another order, with a gap before the next row, along another axis; and what is a result.
    for (const Tensor& y : {f({2, 0, 4}, 1), f({0, 2}, 1), f({0, 0, 2}, 1), f({0, 2, 4}, 0)})
        EXPECT_GT(compiled(y)->tasks.size(), 1u);
    const Tensor held = joined({0, 2, 4}, 1);
    EXPECT_GT(compiled({held, exp(held)})->tasks.size(), 1u);
}

TEST(Compile, PointwiseWorkAfterAProductIsItsEpilogue) {
    const Tensor x = values({16, 24}), w = values({24, 8}), b = values({8}), r = values({16, 8});
    const auto f = [&] { return gelu(matmul(x, w) + b) + r; };  // no handle to what is in between
    EXPECT_EQ(kinds(*compiled(f())), kProduct);
    // The sums are read twice: with the bias they are a result, the activation follows.
    const Tensor z = matmul(x, w) + b;
    EXPECT_EQ(kinds(*compiled({z, gelu(z)})), (std::vector<Kind>{Kind::product, Kind::tape}));
}

TEST(Compile, EverythingCanBeSwitchedOff) {
    const Tensor x = values({16, 24}), w = values({24, 8});
    const Tensor y = softmax(matmul(x, w) * 0.5 + 1.0);
    Options none;
    none.pointwise = none.rows = none.epilogue = false;
    for (const Kind k : kinds(*compiled(y, none))) EXPECT_TRUE(k == Kind::kernel || k == Kind::tape);
    EXPECT_GE(compiled(y, none)->tasks.size(), 8u);
    Options pointwise = none;
    pointwise.pointwise = true;
    EXPECT_LT(compiled(y, pointwise)->tasks.size(), compiled(y, none)->tasks.size());
    EXPECT_LT(compiled(y)->tasks.size(), compiled(y, pointwise)->tasks.size());
}

TEST(Compile, EqualRegionsShareAPlan) {
    const Tensor w = values({48, 48}), g = values({48}, 2), input = values({32, 48}, 3);
    const auto network = [&] {
        Tensor x = input;
        for (int layer = 0; layer < 5; ++layer) x = layer_norm(x + gelu(matmul(layer_norm(x, g), w)) * 0.5, g);
        return x;
    };
    const auto e = compiled(network());
    std::vector<std::uint32_t> rows;  // the first alike of each region of rows
    for (std::size_t t = 0; t < e->tasks.size(); ++t)
        if (e->tasks[t].kind == Kind::rows) rows.push_back(e->alike[t]);
    EXPECT_EQ(rows.size(), 6u);
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    EXPECT_EQ(rows.size(), 4u);  // the first, one that reads the input beside, those between, the last
    testing::expect_same_bits(network);
}

// A region's older member is read by a group that is older than what the region depends on: a cycle through groups
// that none of the bases' own order shows.
TEST(Compile, GroupsMakeNoCircle) {
    using testing::apply;
    const Tensor v0 = astype(values({3, 17}), DType::float16).eval(), v1 = astype(values({}), DType::float16).eval(),
                 v2 = astype(values({3, 17}, 2), DType::float16).eval(),
                 v3 = astype(values({3, 17}, 3), DType::float16).eval();
    const auto loss = [&](const Tree& t) {
        const std::vector<Tensor> x = t.leaves();
        const Tensor v4 = apply("abs", {x[3]}, {}), v5 = apply("maximum", {x[0], v4}, {}),
                     v6 = apply("where", {x[0], v4, v5}, {}), v7 = apply("negative", {v5}, {}),
                     v8 = apply("attention", {x[2], v7}, {}), v9 = apply("divide", {v8, x[1]}, {}),
                     v10 = apply("matmul", {v6, v9}, {}), v11 = apply("concat", {v10, v5}, {});
        Tensor total = zeros({});
        for (const Tensor& t9 : {v9, v11}) total = total + sum(astype(t9, DType::float32));
        return total;
    };
    Tree at;
    at.set("0", v0), at.set("1", v1), at.set("2", v2), at.set("3", v3);
    auto [value, grads] = value_and_grad_at(loss, at);
    std::vector<Tensor> all = grads.leaves();
    all.push_back(value);
    compiled(all);
}

TEST(Compile, ALongChainTakesTheMemoryOfOneBuffer) {
    Tensor x = values({64, 16});
    for (int i = 0; i < 10; ++i) x = flip(cumulative_max(x, 0) + 1.0, {0});
    const auto e = compiled(x);
    // cumulative_max reads all before it is done, so that it has a buffer of its own.
    EXPECT_LE(e->arena_bytes, 2 * 64 * 16 * 4 + 64 * 10);
    EXPECT_LE(e->least_bytes, e->arena_bytes);
    Options apart;
    apart.reuse = false;
    EXPECT_GT(compiled(x, apart)->arena_bytes, e->arena_bytes);
}

TEST(Compile, ACheckpointIsComputedAgain) {
    const Tensor x = values({8, 8});
    const auto f = checkpoint([](const Tree& t) { return Tree(cumulative_max(tanh(t.tensor()), 0)); });
    const auto loss = [&](const Tree& t) { return sum(square(f(t).tensor())); };
    auto [value, grads] = value_and_grad_at(loss, Tree(x));
    Node* const roots[] = {value.node(), grads.tensor().node()};
    const Graph graph = collect(roots);
    const auto is_scan = [&](std::uint32_t n) { return graph.nodes[n]->primitive->name == "cumulative_max"; };
    int recorded = 0, computed = 0;
    for (std::uint32_t n = 0; n < graph.nodes.size(); ++n) recorded += is_scan(n);
    const auto e = compile(graph, {});
    for (const Task& t : e->tasks) computed += static_cast<int>(std::count_if(t.nodes.begin(), t.nodes.end(), is_scan));
    EXPECT_GE(recorded, 2);
    EXPECT_EQ(computed, recorded);
}

TEST(Evaluate, TheSecondTimeIsCompiledAndHeldNodesGetValues) {
    const Tensor x = values({30});
    Tensor middle, end;
    const auto step = [&](double rate) {
        middle = exp(x * rate);
        end = sum(tanh(middle) * 2.0);
        end.eval();
    };
    step(0.5);
    const Statistics before = statistics();
    for (int i = 1; i <= 3; ++i) {
        step(0.5 + i);
        EXPECT_EQ(statistics().compiled_runs, before.compiled_runs + i);
        EXPECT_NE(middle.node()->value(), nullptr);
        EXPECT_FLOAT_EQ(middle.to<float>()[3], std::exp(x.to<float>()[3] * (0.5f + static_cast<float>(i))));
    }
    EXPECT_EQ(statistics().compiled, before.compiled + 1);
}

TEST(Evaluate, ALargeGraphIsCompiledTheFirstTime) {
    const auto f = [](std::int64_t rows) {
        const Tensor x = values({rows, 4096});
        const Statistics before = statistics();
        Tensor y = tanh(exp(x * 0.5 + 1.0));
        y.eval();
        return statistics().compiled_runs - before.compiled_runs;
    };
    EXPECT_EQ(f(256), 0);
    EXPECT_EQ(f(1024), 1);  // four results of 16 MiB
}

TEST(Evaluate, ErrorsOfCompiledGraphsNameTheOperation) {
    const Tensor x = values({4});
    const auto pick = [&](std::int64_t at) { return gather(exp(x) + 1.0, Tensor::from<std::int64_t>({0, at})) * 2.0; };
    pick(1).eval(), pick(2).eval();
    const Tensor bad = pick(4);
    for (int i = 0; i < 2; ++i) {
        try {
            bad.eval();
            FAIL();
        } catch (const ValueError& e) {
            EXPECT_NE(std::string(e.what()).find("gather -> (2,) float32, recorded at"), std::string::npos) << e.what();
        }
    }
    EXPECT_EQ(pick(3).to<float>().size(), 2u);
}

TEST(Evaluate, WithoutMemoryForThePlanNodesRunOneByOne) {
    const Tensor x = values({100});
    const auto f = [&] { return tanh(exp(x) * 2.0) + sum(x); };
    const std::vector<float> expected = f().to<float>();
    f().eval();
    const Statistics before = statistics();
    const Tensor y = f();
    fail_allocation(1);
    y.eval();
    fail_allocation(0);
    EXPECT_EQ(statistics().compiled_runs, before.compiled_runs);
    EXPECT_EQ(y.to<float>(), expected);
}

TEST(Evaluate, WhatDoesNotFitNamesTheLargestAlive) {
    const Tensor x = values({1000}), small = values({10});
    const Tensor y = concat(std::vector<Tensor>{tanh(x), small}, 0) * 2.0;
    fail_allocation(2);
    std::string what;
    try {
        y.eval();
    } catch (const MemoryError& e) {
        what = e.what();
    }
    fail_allocation(0);
    EXPECT_NE(what.find("; alive, to be read or as results: "), std::string::npos) << what;
    EXPECT_NE(what.find("the largest "), std::string::npos) << what;
    EXPECT_NE(what.find("(1000,) float32 4000"), std::string::npos) << what;
    EXPECT_EQ(y.to<float>().size(), 1010u);
}

TEST(Evaluate, WhatDoesNotFitNamesResultsToo) {
    const Tensor x = values({1000}), small = values({10});
    const std::vector<Tensor> results{tanh(x), small * 2.0};
    fail_allocation(2);
    try {
        eval(results);
        ADD_FAILURE() << "there was memory";
    } catch (const MemoryError& e) {
        EXPECT_NE(std::string(e.what()).find("tanh (1000,) float32 4000"), std::string::npos) << e.what();
    }
    fail_allocation(0);
    EXPECT_EQ(results[1].to<float>().size(), 10u);
}

TEST(Explain, TellsTasksReasonsAndMemory) {
    const Tensor x = values({16, 24}), w = values({24, 8});
    const auto f = [&] { return softmax(cumulative_sum(matmul(x, w) * 0.5, 0)); };
    const Tensor y = f();
    const std::string told = explain(y);
    for (const char* part : {"product: contract multiply -> (16, 8) float32", "       by ", "; epilogue: multiply\n",
                             "rows: max", "kernel: cumulative_sum", "1 numbers given at run time", "memory: peak ",
                             "beside inputs of 2.3 kB", "least possible", " of it)", "peak at task"})
        EXPECT_NE(told.find(part), std::string::npos) << part << " is missing in\n" << told;
    EXPECT_EQ(y.node()->value(), nullptr);
    y.eval();
    EXPECT_EQ(explain(y), "everything is computed\n");
    const Tensor z = f();
    EXPECT_EQ(explain({y, z}), explain(z));
    EXPECT_THROW(explain(Tensor()), ValueError);
    const std::string turned = explain(exp(transpose(tanh(x), {1, 0})));
    EXPECT_NE(turned.find("not joined with what it reads: an operand is a view"), std::string::npos) << turned;
}

TEST(Explain, WhyAGraphIsNew) {
    const auto record = [](const Tensor& x) { return cumulative_min(square(tanh(x)), 0); };
    const auto f = [&](const Tensor& x) { return record(x).eval(); };
    f(values({21, 3}));
    f(values({22, 3}));
    EXPECT_NE(why_recompiled().find("has shape (22, 3), not (21, 3)"), std::string::npos) << why_recompiled();
    f(astype(values({22, 3}), DType::float64).eval());
    EXPECT_NE(why_recompiled().find("is float64, not float32"), std::string::npos) << why_recompiled();
    const Tensor middle = tanh(values({22, 3}));
    cumulative_min(square(middle), 0).eval();
    EXPECT_NE(why_recompiled().find("is held by somebody, and was not"), std::string::npos) << why_recompiled();
}

TEST(Evaluate, AProfileCountsRegionsUnderTheirNames) {
    const Tensor x = values({64});
    const auto record = [&] { return tanh(exp(x)); };  // the exponential has no handle when it is computed
    const auto f = [&] { return record().eval(); };
    f(), f();
    profile::start();
    f();
    profile::stop();
    const auto entries = profile::entries();
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_EQ(entries[0].name, "exp+tanh");
    EXPECT_EQ(entries[0].flops, 128);
    EXPECT_EQ(entries[0].bytes, 2 * 64 * 4);
}

TEST(Compile, ConstantsMayBeComputedOneFromTheOtherAnyNumberOfTimes) {
    const auto deep = [](const Tensor& start) {
        Tensor t = start;
        for (int i = 0; i < 50000; ++i) t = sin(t);
        return t;
    };
    const std::vector<float> first = deep(ones({3})).to<float>();
    for (int i = 0; i < 2; ++i) EXPECT_EQ(deep(ones({3})).to<float>(), first);
}

TEST(Compile, FaultsAreCountedAndTheGraphRunsNodeByNode) {
    Options faulty;
    faulty.faulty = true, faulty.verify = false;
    const Tensor x = values({5, 7});
    const auto f = [&] { return tanh(x * 2.0) + x; };
    const Tensor expected = f().eval();
    const WithOptions scope(faulty);
    const std::int64_t before = compiler_faults();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(testing::same_bits(f().eval(), expected));
    EXPECT_EQ(compiler_faults() - before, 1);
    ++schedule::testing::expected_faults;
}

}  // namespace
}  // namespace tenon::schedule
