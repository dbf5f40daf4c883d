// Hidden values in graphs on a GPU: the bits are those of the products and loops one by one.
#include <gtest/gtest.h>

#include "cuda/gpu_testing.h"
#include "schedule/evaluate.h"
#include "schedule/hidden_testing.h"
#include "schedule/options.h"
#include "schedule/random_graph_testing.h"
#include "tenon/random.h"

namespace tenon::schedule {
namespace {

using HiddenGraphGpuTest = cuda::testing::GpuTest;

TEST_F(HiddenGraphGpuTest, BitsAreThoseOfTheProductsAndLoops) {
    if (cuda::Gpu::at(0).major() != 9) GTEST_SKIP() << "the kernels are of compute capability 9.0";
    for (const std::int64_t rows : {64, 512}) {
        const testing::HiddenBlock block(Device::cuda(0));
        const Tensor x = block.draw(5, rows), dy = block.draw(6, rows);
        const auto compute = [&](bool compile) {
            Options o = options();
            o.compile = compile, o.verify = o.poison = true;
            const WithOptions with(o);
            std::vector<Tensor> all;
            for (int i = 0; i < 3; ++i) {
                all = block.step(x, dy);
                eval(all);
            }
            return all;
        };
        const auto one = compute(true), apart = compute(false);
        ASSERT_EQ(one.size(), apart.size());
        for (std::size_t i = 0; i < one.size(); ++i)
            EXPECT_TRUE(testing::same_bits(to_device(one[i], Device::cpu()), to_device(apart[i], Device::cpu())))
                << rows << ": " << i;
    }
}

TEST_F(HiddenGraphGpuTest, WithoutGradientsToo) {
    if (cuda::Gpu::at(0).major() != 9) GTEST_SKIP() << "the kernels are of compute capability 9.0";
    const testing::HiddenBlock block(Device::cuda(0));
    for (const std::int64_t rows : {64, 1024, 1472}) {
        const Tensor x = block.draw(5, rows);
        const auto compute = [&](bool compile) {
            Options o = options();
            o.compile = compile, o.verify = o.poison = true;
            const WithOptions with(o);
            Tensor y;
            for (int i = 0; i < 3; ++i) {
                y = block.down(gelu(block.up(x)));
                y.eval();
            }
            return to_device(y, Device::cpu());
        };
        EXPECT_TRUE(testing::same_bits(compute(true), compute(false))) << rows;
    }
}

}  // namespace
}  // namespace tenon::schedule
