// Packed weights of graphs: packed when they come back, the same bits, and gone with what they were made of.
#include "product/weights.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/storage.h"
#include "schedule/options.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/threads.h"
#include "tensor/node.h"

namespace tenon::schedule {
namespace {

using product::weight_statistics;
using product::WeightStatistics;

constexpr std::int64_t kDefaultLimit = std::int64_t{1} << 28;

Tensor uniform(std::uint64_t seed, const Shape& shape, DType dtype = DType::float32) {
    return astype(random::uniform(random::Key(seed), shape, -1, 1), dtype).eval();
}

/// What the plans of earlier tests hold gives way to one weight that is as large as the limit, and goes with its
/// tensor.
void drop_earlier() {
    product::set_packed_weights_limit(320 * 224 * 4);
    for (int i = 0; i < 100; ++i) product::next_evaluation();
    const Tensor x = uniform(1, {1, 300}), w = uniform(2, {300, 200});
    for (int i = 0; i < 2; ++i) matmul(x, w).eval();
}

class Weights : public ::testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        set_num_threads(2);  // for more threads 160 rows of a layer are cut otherwise, and no weight is packed
        drop_earlier();
        ASSERT_EQ(weight_statistics().bytes, 0);
        options_.compile = GetParam();
        product::set_packed_weights_limit(kDefaultLimit);
        before_ = weight_statistics();
    }
    void TearDown() override {
        product::set_packed_weights_limit(kDefaultLimit);
        set_num_threads(0);
    }

    WeightStatistics since() const {
        const WeightStatistics now = weight_statistics();
        return {now.packed - before_.packed, now.reused - before_.reused, now.dropped - before_.dropped,
                now.weights - before_.weights, now.bytes - before_.bytes};
    }
    Options options_;
    WeightStatistics before_{};
};

std::vector<float> values(const Tensor& t) { return t.to<float>(); }
bool same(const std::vector<float>& x, const std::vector<float>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

TEST_P(Weights, ArePackedOnceWhenTheyComeBackWithTheSameBits) {
    const WithOptions with(options_);
    for (const DType t : {DType::float32, DType::float64, DType::bfloat16, DType::float16})
        for (const bool transposed : {false, true}) {
            before_ = weight_statistics();
            const Tensor w = uniform(1, transposed ? Shape{200, 300} : Shape{300, 200}, t);
            // More than one row reads floats in place that are adjacent in memory.
            const bool in_place = !transposed && (t == DType::float32 || t == DType::float64);
            for (const std::int64_t more : {0, 39, 99}) {
                const std::int64_t rows = in_place ? 1 : 1 + more;
                const Tensor x = uniform(2, {rows, 300}, t);
                const auto layer = [&] {
                    return values(astype(tanh(matmul(x, transposed ? matrix_transpose(w) : w)), DType::float32));
                };
                product::set_packed_weights_limit(0);
                const std::vector<float> plain = layer();
                product::set_packed_weights_limit(kDefaultLimit);
                for (int i = 0; i < 5; ++i)
                    ASSERT_TRUE(same(layer(), plain)) << name(t) << " rows " << rows << " call " << i;
            }
            // Once for all numbers of rows; the first sight packs nothing, the second does.
            EXPECT_EQ(since().packed, 1) << name(t);
            EXPECT_EQ(since().weights, 1);
            EXPECT_EQ(since().reused, 3 * 5 - 2);
            EXPECT_GE(since().bytes, 300 * 200 * static_cast<std::int64_t>(size_of(t)));
        }
    EXPECT_EQ(weight_statistics().weights, 0);  // gone with the tensors
    EXPECT_EQ(weight_statistics().bytes, 0);
}

TEST_P(Weights, OfSeveralAxesArePacked) {
    const WithOptions with(options_);
    const Tensor x = uniform(1, {6, 8, 20, 30}, DType::bfloat16), w = uniform(2, {20, 30, 4, 50}, DType::bfloat16);
    const auto product = [&] { return values(astype(tensordot(x, w, 2), DType::float32)); };
    const std::vector<float> first = product();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(same(product(), first));
    EXPECT_EQ(since().packed, 1);
    EXPECT_EQ(since().reused, 2);
}

TEST_P(Weights, ThatChangeArePackedAgain) {
    const WithOptions with(options_);
    const Tensor x = uniform(1, {1, 300});
    Tensor w = uniform(2, {300, 200});
    for (int step = 1; step <= 4; ++step) {
        const std::vector<float> first = values(matmul(x, w));
        for (int i = 0; i < 2; ++i) EXPECT_TRUE(same(values(matmul(x, w)), first));
        EXPECT_EQ(since().packed, step);
        EXPECT_EQ(since().weights, 1);
        product::set_packed_weights_limit(0);
        EXPECT_TRUE(same(values(matmul(x, w)), first));
        product::set_packed_weights_limit(kDefaultLimit);
        w = w * 0.5f;  // node by node, in the memory of the old one
        w.eval();
    }
}

TEST_P(Weights, OfStructuredLayersArePackedForTheirPass) {
    const WithOptions with(options_);
    for (const DType t : {DType::float32, DType::float64, DType::bfloat16}) {
        before_ = weight_statistics();
        const std::int64_t rows = 160;
        LinearMap layer = map::Monarch::random(random::Key(1), 1024, 1024, {.blocks = 32, .dtype = t});
        const Tensor x = uniform(2, {rows, 1024}, t);
        const auto product = [&] { return values(astype(layer(x), DType::float32)); };
        for (int step = 1; step <= 2; ++step) {
            product::set_packed_weights_limit(0);
            const std::vector<float> plain = product();
            for (int i = 0; i < 2; ++i) ASSERT_TRUE(same(product(), plain)) << name(t);  // until it is compiled
            product::set_packed_weights_limit(kDefaultLimit);
            for (int i = 0; i < 5; ++i) ASSERT_TRUE(same(product(), plain)) << name(t) << " call " << i;
            // Both factors; node by node their blocks are a batch, which is not packed.
            EXPECT_EQ(since().packed, GetParam() ? 2 * step : 0) << name(t);
            EXPECT_EQ(since().weights, GetParam() ? 2 : 0) << name(t);
            Tree halved = layer.parameters().map([](const Tensor& p) { return (p * 0.5f).eval(); });
            layer = layer.with_parameters(std::move(halved));
        }
        EXPECT_EQ(since().reused, GetParam() ? 2 * 2 * 3 : 0) << name(t);
    }
    EXPECT_EQ(weight_statistics().weights, 0);
}

TEST_P(Weights, OverwrittenInPlaceAreForgotten) {
    options_.compile = false;
    const WithOptions with(options_);
    const Tensor x = uniform(1, {1, 300});
    Tensor w = uniform(2, {300, 200});
    for (int i = 0; i < 3; ++i) matmul(x, w).eval();
    EXPECT_EQ(since().weights, 1);
    const void* memory = w.host().data;
    w = std::move(w) + 1.0f;
    const std::vector<float> now = values(matmul(x, w));
    ASSERT_EQ(w.host().data, memory);  // else this test shows nothing
    EXPECT_EQ(since().weights, 0);
    product::set_packed_weights_limit(0);
    EXPECT_TRUE(same(values(matmul(x, w)), now));
}

TEST_P(Weights, WhatIsNoWeightIsLeftAlone) {
    const WithOptions with(options_);
    const Tensor x = uniform(1, {1, 300}), small = uniform(2, {300, 20}), batch = uniform(3, {4, 300, 200}),
                 rows = uniform(4, {600, 300}), few = uniform(6, {4, 300}), w = uniform(5, {300, 200});
    std::vector<float> memory(300 * 200, 0.5f);
    const Tensor theirs = Tensor::wrap(memory.data(), DType::float32, Layout::contiguous({300, 200}), [] {});
    for (int i = 0; i < 4; ++i) {
        matmul(x, small).eval();
        matmul(x, batch).eval();
        matmul(rows, w).eval();
        matmul(few, w).eval();  // in place
        memory[0] = static_cast<float>(i);
        EXPECT_EQ(values(matmul(x, theirs))[0], values(matmul(x, theirs + 0.0f))[0]);
        // An intermediate that is multiplied by twice.
        const Tensor y = tanh(w);
        (matmul(x, y) + matmul(x * 2.0f, y)).eval();
    }
    EXPECT_EQ(since().packed, 0);
}

TEST_P(Weights, StayWithinTheLimit) {
    const WithOptions with(options_);
    const Tensor x = uniform(1, {1, 300});
    std::vector<Tensor> w;
    for (int i = 0; i < 4; ++i) w.push_back(uniform(10 + static_cast<std::uint64_t>(i), {300, 200}));
    std::vector<std::vector<float>> expected;
    for (const Tensor& t : w) expected.push_back(values(matmul(x, t)));
    const std::int64_t one = 320 * 224 * 4;
    product::set_packed_weights_limit(2 * one);
    const auto all = [&](std::size_t first, std::size_t last) {
        for (std::size_t i = first; i < last; ++i) ASSERT_TRUE(same(values(matmul(x, w[i])), expected[i]));
    };
    for (int round = 0; round < 5; ++round) all(0, 4);
    EXPECT_EQ(since().packed, 2);  // what is in use stays: no weight drives out another
    EXPECT_EQ(since().dropped, 0);
    EXPECT_LE(since().bytes, 2 * one);
    for (int round = 0; round < 100; ++round) all(2, 4);
    EXPECT_EQ(since().packed, 4);
    EXPECT_EQ(since().dropped, 2);
    EXPECT_EQ(since().weights, 2);
    EXPECT_LE(since().bytes, 2 * one);
    for (int round = 0; round < 100; ++round) all(0, 2);  // and back
    EXPECT_EQ(since().dropped, 4);
    EXPECT_THROW(product::set_packed_weights_limit(-1), ValueError);
}

TEST_P(Weights, AreNotPackedWithoutMemoryAndNothingFails) {
    const WithOptions with(options_);
    const Tensor x = uniform(1, {1, 300}), w = uniform(2, {300, 200});
    const std::vector<float> expected = values(matmul(x, w));
    for (int n = 1; n <= 4; ++n) {
        fail_allocation(n);
        try {
            EXPECT_TRUE(same(values(matmul(x, w)), expected));
        } catch (const MemoryError&) {  // of the result
        }
        fail_allocation(0);
        EXPECT_EQ(since().bytes > 0, since().weights > 0);
    }
    EXPECT_TRUE(same(values(matmul(x, w)), expected));
    EXPECT_EQ(since().weights, 1);
}

TEST_P(Weights, MayBeUsedAndDieInManyThreads) {
    const WithOptions with(options_);
    const Tensor shared = uniform(1, {300, 200}), x = uniform(2, {1, 300});
    const std::vector<float> expected = values(matmul(x, shared));
    product::set_packed_weights_limit(3 * 320 * 224 * 4);
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (std::uint64_t t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            const WithOptions inner(options_);
            for (std::uint64_t i = 0; i < 10; ++i) {
                const Tensor mine = uniform(100 * t + i, {300, 200});
                for (int again = 0; again < 3; ++again) {
                    wrong += !same(values(matmul(x, shared)), expected);
                    matmul(x, mine).eval();
                }
            }
        });
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_LE(weight_statistics().weights, 3);
    EXPECT_LE(weight_statistics().bytes, 3 * 320 * 224 * 4);
}

INSTANTIATE_TEST_SUITE_P(Graphs, Weights, ::testing::Bool(),
                         [](const auto& i) { return i.param ? "compiled" : "by_node"; });

}  // namespace
}  // namespace tenon::schedule
