// What the kernel of small products takes, and why not; its results are tested with all contractions
// (blas_gpu_test.cpp).
#include "cuda/small_products.h"

#include <gtest/gtest.h>

#include "cuda/gpu_testing.h"

namespace tenon::cuda {
namespace {

using SmallProductsGpuTest = testing::GpuTest;

SmallProducts of(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t count) {
    const auto* at = reinterpret_cast<std::byte*>(std::uintptr_t{4096});
    return {DType::bfloat16,
            DType::bfloat16,
            m,
            n,
            k,
            at,
            at,
            const_cast<std::byte*>(at),
            k,
            1,
            n,
            1,
            n,
            {},
            {count, m * k, k * n, m * n}};
}

TEST_F(SmallProductsGpuTest, SaysWhyNot) {
    const Gpu& gpu = Gpu::at(0);
    EXPECT_EQ(declines(gpu, of(64, 64, 64, 4096)), "");
    EXPECT_EQ(declines(gpu, of(32, 48, 128, 4096)), "");
    EXPECT_NE(declines(gpu, of(64, 64, 256, 4096)).find("up to 128"), std::string::npos);
    EXPECT_NE(declines(gpu, of(64, 64, 4, 4096)).find("at least 8"), std::string::npos);
    EXPECT_NE(declines(gpu, of(64, 60, 64, 4096)).find("eights"), std::string::npos);
    EXPECT_NE(declines(gpu, of(64, 64, 64, 4)).find("warps"), std::string::npos);
    SmallProducts p = of(64, 64, 64, 4096);
    p.in = p.out = DType::float32;
    EXPECT_NE(declines(gpu, p).find("bfloat16"), std::string::npos);
    p = of(64, 64, 64, 4096);
    p.a += 2;
    EXPECT_NE(declines(gpu, p).find("16 bytes"), std::string::npos);
    p = of(64, 64, 64, 4096);
    p.a_row = 128, p.a_column = 2;
    EXPECT_NE(declines(gpu, p).find("side by side"), std::string::npos);
}

}  // namespace
}  // namespace tenon::cuda
