#include "cuda/device.h"

#include <gtest/gtest.h>

#include <numeric>

#include "cuda/driver.h"
#include "cuda/gpu_testing.h"
#include "cuda/launch.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

constexpr const char* kText = R"(
struct alignas(64) Map { unsigned long long words[16]; };
extern "C" __global__ void add(float* x, float y, long long n, const __grid_constant__ Map map) {
    const long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i < n) x[i] += y + map.words[15];
}
extern "C" __global__ void ranks(int* out) {
#if __CUDA_ARCH__ >= 900
    unsigned rank, size;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    out[blockIdx.x] = rank + 100 * size;
#endif
})";

TEST(DriverTest, SaysWhyThereIsNone) {
    if (Gpu::count() > 0) GTEST_SKIP() << "there is one";
    EXPECT_FALSE(driver_absent().empty());
    EXPECT_THROW(Gpu::at(0), ValueError);
    EXPECT_THROW(driver(), ValueError);
}

using GpuTest = testing::GpuTest;

TEST_F(GpuTest, LaunchPassesArgumentsByValue) {
    Gpu& gpu = Gpu::at(0);
    const std::int64_t n = 1000;
    std::vector<float> x(n);
    std::iota(x.begin(), x.end(), 0.f);
    const auto memory = gpu.allocate(n * 4);
    gpu.to_device(memory->data(), x.data(), n * 4);
    TensorMap map{};
    map.words[15] = 7;
    const Kernel& k = gpu.kernel({"add.cu", kText}, "add");
    launch(gpu, k, {.grid = {4}, .block = {256}}, memory->data(), 0.5f, n, map);
    std::vector<float> y(n);
    gpu.to_host(y.data(), memory->data(), n * 4);
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], x[i] + 7.5f);
}

TEST_F(GpuTest, Clusters) {
    Gpu& gpu = Gpu::at(0);
    if (gpu.major() < 9) GTEST_SKIP() << "clusters need compute capability 9.0";
    const auto memory = gpu.allocate(32 * 4);
    const Kernel& k = gpu.kernel({"add.cu", kText}, "ranks");
    for (const std::uint32_t size : {2u, 8u, 16u}) {
        launch(gpu, k, {.grid = {32}, .block = {32}, .cluster = {size}}, memory->data());
        int out[32];
        gpu.to_host(out, memory->data(), sizeof out);
        for (std::uint32_t i = 0; i < 32; ++i) ASSERT_EQ(out[i], static_cast<int>(i % size + 100 * size));
    }
    EXPECT_GT(clusters(gpu, k, {.grid = {32}, .block = {32}, .cluster = {8}}), 0);
}

TEST_F(GpuTest, TensorMapsAreEncodedOrRefused) {
    Gpu& gpu = Gpu::at(0);
    if (gpu.major() < 9) GTEST_SKIP() << "tensor maps need compute capability 9.0";
    const auto memory = gpu.allocate(64 * 64 * 2);
    const std::uint64_t extents[] = {64, 64}, strides[] = {128}, odd[] = {120};
    const std::uint32_t box[] = {64, 32}, wide[] = {512, 32};
    EXPECT_NO_THROW(encode(DType::bfloat16, memory->data(), {extents, strides, box, Swizzle::bytes128}));
    EXPECT_THROW(encode(DType::bfloat16, memory->data(), {extents, odd, box}), ValueError);
    EXPECT_THROW(encode(DType::bfloat16, memory->data(), {extents, strides, wide}), ValueError);
    EXPECT_THROW(encode(DType::bfloat16, memory->data(), {extents, extents, box}), ValueError);
}

TEST_F(GpuTest, CopiesOfEverySize) {
    Gpu& gpu = Gpu::at(0);
    for (const std::int64_t n : {0, 1, 1000, 1 << 20, (1 << 20) + 1, 4 << 20, (4 << 20) + 1, 9 << 20}) {
        std::vector<unsigned char> x(static_cast<std::size_t>(n)), y(x.size(), 1);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<unsigned char>(i * 7 + i / 255);
        const auto a = gpu.allocate(n), b = gpu.allocate(n);
        const std::vector<unsigned char> kept = x;
        gpu.to_device(a->data(), x.data(), n);
        std::fill(x.begin(), x.end(), 0xAA);  // The source may change as soon as the call returns.
        gpu.copy(b->data(), a->data(), n);
        gpu.to_host(y.data(), b->data(), n);
        ASSERT_EQ(y, kept) << n;
    }
}

TEST_F(GpuTest, ManySmallCopiesGoThroughTheRing) {
    Gpu& gpu = Gpu::at(0);
    const auto memory = gpu.allocate(1000 * 4);
    for (int i = 0; i < 1000; ++i) gpu.to_device(static_cast<int*>(memory->data()) + i, &i, 4);
    std::vector<int> out(1000);
    gpu.to_host(out.data(), memory->data(), 4000);
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(out[static_cast<std::size_t>(i)], i);
}

TEST_F(GpuTest, StatisticsCountWhatIsHeld) {
    Gpu& gpu = Gpu::at(0);
    gpu.trim_memory();
    gpu.reset_peak_memory();
    const PoolStatistics before = gpu.memory_statistics();
    {
        const auto a = gpu.allocate(3 << 20), b = gpu.allocate(5 << 20);
        EXPECT_EQ(gpu.memory_statistics().in_use, before.in_use + (8 << 20));
        EXPECT_EQ(a->device(), Device::cuda(0));
    }
    const PoolStatistics after = gpu.memory_statistics();
    EXPECT_EQ(after.in_use, before.in_use);
    EXPECT_EQ(after.peak_in_use, before.in_use + (8 << 20));
    gpu.synchronize();
    gpu.trim_memory();
    EXPECT_LE(gpu.memory_statistics().cached, after.cached);
}

TEST_F(GpuTest, OutOfMemoryTriesAgainThenThrowsAndLeavesAllAsItWas) {
    Gpu& gpu = Gpu::at(0);
    const int value = 42;
    const auto kept = gpu.allocate(4);
    gpu.to_device(kept->data(), &value, 4);
    gpu.fail_allocation(1, false);
    EXPECT_NO_THROW(gpu.allocate(1 << 20)) << "the second attempt, after trimming";
    gpu.fail_allocation(1, true);
    EXPECT_THROW(gpu.allocate(1 << 20), MemoryError);
    EXPECT_THROW(gpu.allocate(std::int64_t{1} << 45), MemoryError);
    int read = 0;
    gpu.to_host(&read, kept->data(), 4);
    EXPECT_EQ(read, value);
    EXPECT_NO_THROW(gpu.allocate(1 << 20));
}

TEST_F(GpuTest, EventsOrderTheStream) {
    Gpu& gpu = Gpu::at(0);
    Event start(gpu, true), end(gpu, true);
    const auto memory = gpu.allocate(64 << 20);
    start.record();
    gpu.fill_bytes(memory->data(), 0, 64 << 20);
    end.record();
    end.wait();
    EXPECT_TRUE(start.done());
    EXPECT_GT(end.since(start), 0);
}

TEST_F(GpuTest, KernelsAreKept) {
    Gpu& gpu = Gpu::at(0);
    EXPECT_EQ(&gpu.kernel({"add.cu", kText}, "add"), &gpu.kernel({"add.cu", kText}, "add"));
    EXPECT_GT(gpu.kernel({"add.cu", kText}, "add").registers, 0);
    EXPECT_THROW(gpu.kernel({"add.cu", kText}, "absent"), ValueError);
}

}  // namespace
}  // namespace tenon::cuda
