// What the host asks of a GPU's driver, counted by one that does nothing (driver.cpp). Results are not looked at.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "counts.h"
#include "schedule/hidden_testing.h"
#include "tenon/tenon.h"

namespace tenon {
namespace {

NullCounts* counts = nullptr;
bool* ended = nullptr;
int* events = nullptr;
constexpr Device kGpu = Device::cuda(0);

NullCounts since(const NullCounts& before) {
    const NullCounts& now = *counts;
    return {now.allocations - before.allocations, now.frees - before.frees,       now.launches - before.launches,
            now.graphs - before.graphs,           now.products - before.products, now.copies - before.copies,
            now.uploads - before.uploads,         now.pinned - before.pinned,     now.misaligned - before.misaligned};
}

Tensor halves(const Shape& shape) { return to_device(full(shape, 0.5, DType::bfloat16), kGpu).eval(); }

LinearMap on_gpu(const LinearMap& map) {
    return map.with_parameters(
        map.parameters().map([](const Tensor& t) { return to_device(astype(t, DType::bfloat16), kGpu).eval(); }));
}

/// The driver calls of one call of f, once f has run often enough to be recorded.
template <class F>
NullCounts steady(F&& f) {
    for (int i = 0; i < 16; ++i) f();
    const NullCounts before = *counts;
    f();
    return since(before);
}

void expect_one_graph(const NullCounts& c, const std::string& what) {
    EXPECT_EQ(c.graphs, 1) << what;
    EXPECT_EQ(c.launches + c.products + c.copies, 0) << what;
    EXPECT_EQ(c.allocations + c.frees, 0) << what;
}

// The first test: later ones find the pinned memory made.
TEST(NullDevice, PinnedMemoryIsMadeOnceWhereAnEventCannotBeCreated) {
    synchronize(kGpu);  // The device itself needs some.
    const NullCounts before = *counts;
    const auto copy = [] { to_device(Tensor::from(std::vector<float>{1, 2}, {2}), kGpu).eval(); };
    *events = 1;
    EXPECT_THROW(copy(), MemoryError);
    EXPECT_THROW(copy(), MemoryError);
    *events = -1;
    copy();
    EXPECT_EQ(since(before).pinned, 1);
}

TEST(NullDevice, WorkOfAFewMicrosecondsIsOneLaunchOrGraphAndNoMemory) {
    const auto expect_one_launch = [](const NullCounts& c, const std::string& what) {
        EXPECT_EQ(c.launches, 1) << what << ", which begins while the work before it ends";
        EXPECT_EQ(c.graphs + c.products + c.copies + c.allocations + c.frees, 0) << what;
    };
    for (const std::int64_t rows : {1, 16, 256}) {
        const Tensor x = halves({rows, 4096}), w = halves({4096, 4096});
        for (const std::int64_t rank : {1, 2, 4}) {
            const LinearMap map = on_gpu(map::BlockTensorTrain::random(random::Key(1), 4096, 4096, {.rank = rank}));
            expect_one_launch(steady([&] { map(x).eval(); }), "layer, rows " + std::to_string(rows));
            const auto f = compile([&](const Tensor& t) { return map(t); });
            expect_one_launch(steady([&] { (void)f(x); }), "function, rows " + std::to_string(rows));
        }
        const NullCounts product = steady([&] { matmul(x, w).eval(); });
        // A few rows by weights of this size are a kernel of Tenon's own.
        if (rows <= 32)
            expect_one_launch(product, "product, rows " + std::to_string(rows));
        else
            expect_one_graph(product, "product, rows " + std::to_string(rows));
    }
}

TEST(NullDevice, NumbersAroundATensorAreRecorded) {
    const Tensor x = halves({32, 32});
    for (const double value : {0.0, 1.5})
        expect_one_graph(steady([&] {
                             (exp(pad(exp(x), {4, 0}, {8, 12}, {}, value))).eval();
                         }),
                         "pad by " + std::to_string(value));
}

TEST(NullDevice, NumbersAreCopiedWhenTheyChangeOrAreOverwritten) {
    const Tensor x = halves({32, 32});
    double value = 1.5;
    const auto f = [&] { (exp(x) * value + x).eval(); };
    EXPECT_EQ(steady(f).uploads, 0);
    value = 2.5;
    const NullCounts before = *counts;
    f(), f();
    EXPECT_EQ(since(before).uploads, 1);

    const Tensor y = to_device(full({32, 32}, 0.5), kGpu).eval();
    const auto sums = [&] { return cumulative_sum(y * exp(reshape(Tensor(value), {1})), 0); };
    const NullCounts c = steady([&] { sums().eval(); });
    EXPECT_EQ(c.graphs, 1);
    EXPECT_EQ(c.uploads, 1) << "The exponential of the number takes its memory.";
}

Tensor filled(const Shape& shape, DType dtype) { return to_device(full(shape, 1, dtype), kGpu).eval(); }

/// What one call of a function whose result alone is kept enqueues: a graph's nodes as they are recorded, or the calls.
template <class F>
NullCounts enqueued(F&& make) {
    const auto f = [&] {
        const Tensor y = make();
        y.eval();
    };
    f();
    NullCounts most{};
    for (int i = 0; i < 4; ++i) {
        const NullCounts before = *counts;
        f();
        const NullCounts c = since(before);
        if (c.launches + c.products > 0) most = c;
    }
    return most;
}

TEST(NullDevice, WhatIsAddedToAProductIsOfItsKernel) {
    const Tensor x = filled({8192, 512}, DType::float32), w = filled({512, 1024}, DType::float32),
                 bias = filled({1024}, DType::float32), r = filled({8192, 1024}, DType::float32);
    for (const Tensor& added : {bias, r}) {
        const NullCounts c = enqueued([&] { return matmul(x, w) + added; });
        EXPECT_EQ(c.products, 1);
        EXPECT_EQ(c.launches + c.copies, 0);
    }
    const NullCounts c = enqueued([&] { return tanh(matmul(x, w) + bias); });
    EXPECT_EQ(c.products, 1);
    EXPECT_EQ(c.launches, 1) << "a loop over the product";
}

TEST(NullDevice, ProductsOfBytesAreOneKernel) {
    const Tensor x = filled({512, 1024}, DType::uint8), w = filled({256, 1024}, DType::int8);
    const NullCounts c =
        enqueued([&] { return matmul(astype(x, DType::int32), matrix_transpose(astype(w, DType::int32))); });
    EXPECT_EQ(c.launches, 1) << "neither operand is cast first";
    EXPECT_EQ(c.products + c.copies, 0);
}

TEST(NullDevice, ALargeLayerIsOneLaunch) {
    const Tensor x = halves({4096, 4096});
    const LinearMap map = on_gpu(map::BlockTensorTrain::random(random::Key(1), 4096, 4096, {.rank = 2}));
    const NullCounts c = steady([&] { map(x).eval(); });
    EXPECT_EQ(c.launches, 1) << "which begins while the work before it ends";
    EXPECT_EQ(c.graphs + c.products + c.copies + c.allocations + c.frees, 0);
}

TEST(NullDevice, OperandsThatLieAnywhereAreCopied) {
    for (const std::int64_t rows : {1, 64, 8192}) {
        const LinearMap map = on_gpu(map::BlockTensorTrain::random(random::Key(1), 1024, 1024, {.rank = 1}));
        const Tensor longer = halves({rows * 1024 + 1});
        const Tensor x = reshape(slice(longer, {1}, {rows * 1024 + 1}, {1}), {rows, 1024});
        const NullCounts before = *counts;
        for (int i = 0; i < 4; ++i) map(x).eval();
        const NullCounts c = since(before);
        EXPECT_EQ(c.misaligned, 0) << rows;
        EXPECT_GT(c.copies, 0) << rows;
    }
}

TEST(NullDevice, WhatIsGivenUpComesBack) {
    Tree params({{"a", halves({256, 256})}, {"b", halves({256, 256})}});
    const Tensor x = halves({32, 256});
    const auto step = [&] {
        params = params.map([&](const Tensor& p) { return p - matmul(matrix_transpose(x), matmul(x, p)); });
        eval(params);
    };
    const NullCounts c = steady(step);
    EXPECT_EQ(c.graphs, 1);
    EXPECT_EQ(c.launches + c.products + c.allocations + c.frees, 0);
}

TEST(NullDevice, WhatHasLargeResultsIsCompiledAtOnce) {
    const auto launches = [](std::int64_t rows) {
        Tensor x = filled({rows, 1024}, DType::float32);
        const NullCounts before = *counts;
        for (int i = 0; i < 72; ++i) x = tanh(x);
        x.eval();
        return since(before).launches;
    };
    EXPECT_EQ(launches(1024), 72) << "results of 288 MiB are computed node by node";
    EXPECT_LT(launches(4096), 8) << "of 1.1 GiB are compiled";
}

TEST(NullDevice, AFunctionIsRecordedOncePerDevice) {
    int calls = 0;
    const auto f = compile([&](const Tensor& x, const Tensor& factor) {
        ++calls;
        return tanh(x * factor);
    });
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(f(halves({8, 8}), 0.5 + i).device(), kGpu);
        EXPECT_EQ(f(full({8, 8}, 0.5, DType::bfloat16), 0.5 + i).device(), Device::cpu());
    }
    EXPECT_EQ(calls, 2);
}

TEST(NullDevice, MemoryThatLiesIdleIsBoundedAndCounted) {
    const std::int64_t before = device_memory_statistics(kGpu).in_use;
    for (std::int64_t n = 1; n <= 64; ++n)
        (void)halves({n << 18});  // half a megabyte to 32, more than an eighth of the device
    const auto s = device_memory_statistics(kGpu);
    EXPECT_EQ(s.in_use, before);
    EXPECT_GT(s.cached, 0);
    EXPECT_LE(s.cached, (std::int64_t{1} << 30) / 8 + (std::int64_t{256} << 20)) << "with what graphs hold";
}

TEST(NullDevice, WhatIsComputedWhileTheProgramEndsSaysSo) {
    const Tensor x = halves({8, 8}), y = exp(x);
    *ended = true;
    try {
        y.eval();
        ADD_FAILURE() << "computed without a driver";
    } catch (const ValueError& e) {
        EXPECT_NE(std::string(e.what()).find("the program is ending"), std::string::npos) << e.what();
    }
    *ended = false;
    EXPECT_NO_THROW(y.eval());
}

TEST(NullDevice, ProductsBesideAFunctionOfHiddenValuesAndTheirGradientsAreATaskEach) {
    const auto tasks = [](const schedule::testing::HiddenBlock& block, std::int64_t rows) {
        const std::string all = explain(block.step(block.draw(3, rows), block.draw(4, rows)));
        const auto has = [&](const char* what) { return all.find(what) != std::string::npos; };
        return std::pair(has(" hidden: "), has(" hidden gradients: "));
    };
    const schedule::testing::HiddenBlock block(kGpu);
    EXPECT_EQ(tasks(block, 128), std::pair(true, true));
    EXPECT_EQ(tasks(block, 96), std::pair(false, false)) << "rows that fill no tiles";
    EXPECT_EQ(tasks(schedule::testing::HiddenBlock(kGpu, 1024, 4096), 128), std::pair(false, false)) << "other groups";
    EXPECT_EQ(tasks(schedule::testing::HiddenBlock(kGpu, 4096, 16384, 2), 128), std::pair(false, false)) << "rank 2";
    // Without gradients, too, and the layer that widens is no pass then.
    const auto forward = [&] { return block.down(gelu(block.up(block.draw(3, 1024)))); };
    const Tensor y[] = {forward()};
    EXPECT_NE(explain(y).find(" hidden: "), std::string::npos);
    EXPECT_EQ(explain(y).find(" chain: "), std::string::npos);
    // The value of the function is a result too.
    const Tensor v = gelu(block.up(block.draw(3, 128)));
    const Tensor both[] = {v, block.down(v)};
    EXPECT_EQ(explain(both).find(" hidden: "), std::string::npos);
}

}  // namespace
}  // namespace tenon

int main(int argc, char** argv) {
    // Under the name that Tenon looks for, before it does.
    void* const driver = dlopen(TENON_NULL_DRIVER, RTLD_NOW | RTLD_LOCAL);
    if (!driver) return std::fprintf(stderr, "%s\n", dlerror()), 1;
    tenon::counts = static_cast<NullCounts*>(dlsym(driver, "tenon_null_counts"));
    tenon::ended = static_cast<bool*>(dlsym(driver, "tenon_null_ended"));
    tenon::events = static_cast<int*>(dlsym(driver, "tenon_null_events"));
    setenv("TENON_NVRTC", TENON_NULL_DRIVER, 1);
    setenv("TENON_CUBLASLT", TENON_NULL_DRIVER, 1);
    setenv("TENON_CUBINS", "", 1);
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
