// The evaluator's cache: the same graph is found again whatever its values, another is not, and memory stays bounded.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <vector>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "primitive/primitive.h"
#include "schedule/evaluate.h"
#include "tenon/compile.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"
#include "tenon/profile.h"
#include "tenon/random.h"

namespace tenon::schedule {
namespace {

Tensor step(const Tensor& x, double rate) { return x - rate * tanh(x * x); }

Graph graph_of(const Tensor& t) {
    Node* root = t.node();
    return collect({&root, 1});
}

TEST(Plan, TheSameGraphIsFoundAgainWhateverItsValues) {
    Tensor x = Tensor::from<float>({1, 2, 3});
    step(x, 0.1).eval();
    const Statistics before = statistics();
    for (int i = 0; i < 5; ++i) x = step(x, 0.1 / (i + 1)).eval();
    const Statistics after = statistics();
    EXPECT_EQ(after.hits - before.hits, 5);
    EXPECT_EQ(after.misses, before.misses);
}

TEST(Plan, OtherShapesDtypesAttributesAndAliasesAreOtherGraphs) {
    PlanCache cache(1 << 20);
    const Tensor a = Tensor::from<float>({1, 2, 3, 4}, {2, 2}), b = Tensor::from<float>({1, 2, 3, 4}, {2, 2});
    const std::vector<Tensor> different = {a + b,
                                           a + a,
                                           a - b,
                                           astype(a, DType::float64) + 1,
                                           reduce_sum(a, {0}),
                                           reduce_sum(a, {1}),
                                           reshape(a, {4}) + 1,
                                           (a + b) + (a + b),
                                           a + b + a + b};
    for (const Tensor& t : different) cache.find(graph_of(t));
    EXPECT_EQ(cache.misses(), static_cast<std::int64_t>(different.size()));
    for (const Tensor& t : different) cache.find(graph_of(t));
    EXPECT_EQ(cache.hits(), static_cast<std::int64_t>(different.size()));
}

TEST(Plan, AKeyThatLiesIsFoundOut) {
    PlanCache cache(1 << 20);
    const Tensor a = Tensor::from<float>({1, 2}), sum = a + a, product = exp(a) * a;  // a graph does not own its nodes
    const Graph one = graph_of(sum), other = graph_of(product);
    cache.find(one, 1);
    EXPECT_EQ(cache.find(other, 1)->steps->size(), other.nodes.size());
    EXPECT_EQ(cache.hits(), 0);
}

TEST(Plan, WhatIsExpectedNextIsFoundWithoutItsKeyAndOnlyIfItIsThat) {
    PlanCache cache(1 << 20);
    const Tensor a = Tensor::from<float>({1, 2}), b = a + a, c = exp(a), d = a * a;
    const auto plan_of = [&](const Tensor& t) { return cache.find(graph_of(t)); };
    const Plan* const of_b = plan_of(b);
    const Plan* const of_c = plan_of(c);
    EXPECT_EQ(of_b->after, key_of(graph_of(c)));
    EXPECT_EQ(plan_of(b), of_b);
    EXPECT_EQ(plan_of(c), of_c);  // as expected
    EXPECT_EQ(plan_of(b), of_b);
    const Plan* const of_d = plan_of(d);  // c was
    EXPECT_NE(of_d, of_c);
    EXPECT_EQ(of_b->after, of_d->key);
    EXPECT_EQ(plan_of(b), of_b);
    EXPECT_EQ(plan_of(d), of_d);
    EXPECT_EQ(cache.hits(), 5);
    EXPECT_EQ(cache.misses(), 3);
}

TEST(Plan, TheLeastRecentlyUsedGoesFirst) {
    const Tensor a = Tensor::from<float>({1, 2});
    std::vector<Tensor> graphs;
    Tensor t = a;
    for (int i = 0; i < 50; ++i) graphs.push_back(t = t + a);
    PlanCache cache(20 * 50 * sizeof(Step));
    for (const Tensor& g : graphs) cache.find(graph_of(g));
    EXPECT_LE(cache.bytes(), 20 * 50 * sizeof(Step));
    EXPECT_LT(cache.size(), graphs.size());
    cache.find(graph_of(graphs.back()));
    EXPECT_EQ(cache.hits(), 1);
}

TEST(Profile, CountsWhatWasComputed) {
    const Tensor a = Tensor::from(std::vector<float>(12), {3, 4});
    profile::start();
    exp(exp(a)).eval();
    const std::uint8_t rows[] = {0, 1}, columns[] = {1, 0}, none[] = {0};
    contract(a, rows, transpose(a, {1, 0}), columns, none).eval();
    profile::stop();
    exp(a).eval();
    for (const auto& e : profile::entries()) {
        if (e.name == "exp") {
            EXPECT_EQ(e.calls, 2);
            EXPECT_EQ(e.flops, 24);
            EXPECT_EQ(e.bytes, 2 * 2 * 12 * 4);
        } else if (e.name == "contract") {
            EXPECT_EQ(e.flops, 2 * 12);
        } else {
            EXPECT_EQ(e.name, "transpose");
            EXPECT_EQ(e.bytes, 0);
        }
    }
    EXPECT_EQ(profile::entries().size(), 3u);
}

#if defined(__x86_64__)
TEST(Evaluate, ResultsDoNotDependOnTheCallersFloatingPointEnvironment) {
    const Tensor x = random::normal(random::Key(1), {37, 53}).eval(), tiny = (x * 1e-40).eval();
    const auto all = [&] {
        const std::vector<Tensor> results{
            exp(x),       softmax(x, -1), sum(x, 0), tiny * 2.0,
            sqrt(abs(x)), tiny + tiny,    x / 3.0,   astype(astype(x, DType::float64) / 3.0, DType::float32)};
        std::vector<std::vector<float>> values;
        for (const Tensor& t : results) values.push_back(t.to<float>());
        values.push_back((astype(x, DType::float64) / 3.0).eval().to<float>());
        return values;
    };
    const auto function = tenon::compile([](const Tensor& v) { return tanh(v) / 3.0; });
    const auto want = all();
    const std::vector<float> of_function = function(x).to<float>();
    constexpr unsigned kMaskTraps = 0x1f80, kUpward = 0x4000, kToZero = 0x6000, kFlush = 0x8040, kTraps = 0x1100;
    const unsigned before = _mm_getcsr();
    for (const unsigned mode : {kMaskTraps | kUpward, kMaskTraps | kToZero | kFlush, kTraps})
        for (int i = 0; i < 3; ++i) {  // node by node, and compiled
            _mm_setcsr(mode);
            const auto got = all();
            const std::vector<float> of_call = function(x).to<float>();
            const unsigned after = _mm_getcsr();
            _mm_setcsr(before);
            EXPECT_EQ(after & ~0x3fu, mode) << "the caller's environment stays";
            EXPECT_EQ(got, want) << std::hex << mode;
            EXPECT_EQ(of_call, of_function) << std::hex << mode;
        }
}
#endif

// In a child that starts anew, since the variables are read once.
TEST(EnvironmentDeathTest, AnEmptyVariableSetsNothing) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    constexpr const char* kNames[] = {"TENON_FUSE",        "TENON_CUDA_GRAPHS", "TENON_PACKED_WEIGHTS",
                                      "TENON_NUM_THREADS", "TENON_ISA",         "TENON_GENERATE"};
    for (const char* name : kNames) setenv(name, "", 0);
    EXPECT_EXIT(
        {
            const Tensor x = random::normal(random::Key(1), {512, 512}).eval();
            for (int i = 0; i < 2; ++i) softmax(matmul(x, x), -1).eval();
            std::exit(options().chain && options().rows && options().graphs ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "");
    for (const char* name : kNames)
        if (const char* value = std::getenv(name); value && !*value) unsetenv(name);
}

TEST(Evaluate, WhatNoMemoryHoldsIsAMemoryError) {
    const std::int64_t most = std::int64_t{1} << 62;
    EXPECT_THROW(random_bits(Tensor::from<std::uint64_t>({1}, {}), {most}, DType::uint64).eval(), MemoryError);
    EXPECT_THROW(iota(most, DType::int32).eval(), MemoryError);
    EXPECT_THROW(iota(most / 8, DType::float64).eval(), MemoryError);
    EXPECT_THROW(random::permutation(random::Key(1), most).eval(), MemoryError);
}

// As a kernel's own temporaries may.
Tensor failing(void (*run)(const Node&, std::span<const View>, const View&)) {
    Tensor t = iota(3, DType::float32);
    static Primitive p = *t.node()->primitive;
    p.run = nullptr;
    p.reference = run;
    t.node()->primitive = &p;
    return t;
}

TEST(Evaluate, AKernelWithoutMemoryIsAMemoryError) {
    EXPECT_THROW(failing([](auto&, auto, auto&) { throw std::bad_alloc(); }).eval(), MemoryError);
    EXPECT_THROW(failing([](auto&, auto, auto&) { std::vector<double>().reserve(SIZE_MAX / sizeof(double)); }).eval(),
                 MemoryError);
}

TEST(Evaluate, MoreBytesThanCanBeCountedAreAMemoryError) {
    EXPECT_THROW(iota(std::int64_t{1} << 61, DType::int64).eval(), MemoryError);
    EXPECT_THROW(iota(std::int64_t{1} << 60, DType::int64).eval(), MemoryError);
}

}  // namespace
}  // namespace tenon::schedule
