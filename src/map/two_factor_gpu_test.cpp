// Block tensor trains on a device, whose inner axes get zeros after them where lines would begin at odd addresses.
#include <gtest/gtest.h>

#include "cuda/gpu_testing.h"
#include "tenon/device.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::map {
namespace {

using TwoFactorGpuTest = cuda::testing::GpuTest;

/// The result of a map and the gradients of its factors and of x, in float32 on the host.
std::vector<Tensor> step(const LinearMap& map, std::int64_t rows, Device device) {
    const auto there = [&](const Tensor& t) { return to_device(astype(t, DType::bfloat16), device); };
    const LinearMap moved = map.with_parameters(map.parameters().map(there));
    const Tree at({{"map", moved.parameters()}, {"x", there(random::normal(random::Key(2), {rows, map.shape()[1]}))}});
    const auto [y, back] =
        vjp([&](const Tree& t) { return Tree(moved.with_parameters(t["map"])(t["x"].tensor())); }, at);
    std::vector<Tensor> all = back(Tree(there(random::normal(random::Key(3), {rows, map.shape()[0]})))).leaves();
    all.push_back(y.tensor());
    for (Tensor& t : all) t = to_device(astype(t, DType::float32), Device::cpu()).eval();
    return all;
}

TEST_F(TwoFactorGpuTest, BlocksOfNoMultiplesOf8) {
    const auto check = [](const LinearMap& map, std::int64_t rows) {
        const std::vector<Tensor> here = step(map, rows, Device::cpu()), got = step(map, rows, Device::cuda(0));
        ASSERT_EQ(here.size(), got.size());
        for (std::size_t i = 0; i < here.size(); ++i) {
            ASSERT_EQ(here[i].shape(), got[i].shape());
            const Tensor d = got[i] - here[i];
            const auto error = sqrt(sum(d * d)).item<float>(), norm = sqrt(sum(here[i] * here[i])).item<float>();
            EXPECT_LT(error, 0.01F * norm) << i << ", " << rows << " rows";
        }
    };
    for (const std::int64_t rows : {300, 40})
        for (const std::int64_t rank : {1, 2})
            check(BlockTensorTrain::random(random::Key(1), 4096, 784, {.rank = rank}), rows);
    const Tensor a = random::normal(random::Key(4), {16, 1, 2, 20, 28}),
                 b = random::normal(random::Key(5), {16, 24, 2, 20, 1});
    check(TwoFactor::from(a, b), 512);
}

}  // namespace
}  // namespace tenon::map
