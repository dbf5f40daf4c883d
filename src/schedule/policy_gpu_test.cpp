// Float32 products under a policy that allows TF32: less precise where it holds, and nowhere else; the same bits each
// time. Gradients of attention under one that allows any order.
#include <gtest/gtest.h>

#include <cmath>

#include "cuda/gpu_testing.h"
#include "tenon/attention.h"
#include "tenon/compile.h"
#include "tenon/device.h"
#include "tenon/functions.h"
#include "tenon/policy.h"
#include "tenon/primitives.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon {
namespace {

using PolicyGpuTest = cuda::testing::GpuTest;

Tensor drawn(std::uint64_t seed, const Shape& shape) { return random::normal(random::Key(seed), shape).eval(); }

/// The largest difference, as a part of the largest number.
double error(const Tensor& got, const Tensor& expected) {
    const std::vector<double> x = astype(got, DType::float64).to<double>(), y = expected.to<double>();
    double most = 0, largest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        most = std::max(most, std::fabs(x[i] - y[i]));
        largest = std::max(largest, std::fabs(y[i]));
    }
    return most / largest;
}

// Rounding to 11 bits shows, and no more than that.
constexpr double kOfFloat = 3e-6, kMinOfTf32 = 1e-5, kMaxOfTf32 = 2e-3;

void expect_tf32(double e, const char* what) {
    EXPECT_GT(e, kMinOfTf32) << what;
    EXPECT_LT(e, kMaxOfTf32) << what;
}

TEST_F(PolicyGpuTest, Tf32IsWhereAPolicyAllowsIt) {
    const Tensor x = drawn(1, {256, 512}), w = drawn(2, {512, 128}), b = drawn(3, {128});
    const auto wide = [](const Tensor& t) { return astype(t, DType::float64); };
    const Tensor expected = matmul(wide(x), wide(w)), with_bias = expected + wide(b);
    const Tensor dx = to_device(x, Device::cuda()), dw = to_device(w, Device::cuda()),
                 db = to_device(b, Device::cuda());
    EXPECT_LT(error(matmul(dx, dw), expected), kOfFloat);
    Tensor y, z, batch;
    {
        const WithPolicy less({Precision::tf32});
        y = matmul(dx, dw);
        z = matmul(dx, dw) + db;
        batch = matmul(reshape(dx, {4, 64, 512}), dw);
    }
    // Computed here, outside.
    expect_tf32(error(y, expected), "a product");
    expect_tf32(error(z, with_bias), "a product with a bias");
    expect_tf32(error(reshape(batch, {256, 128}), expected), "several matrices");
    EXPECT_LT(error(matmul(dx, dw), expected), kOfFloat) << "no longer";
    EXPECT_LT(error(matmul(dx, dw) + db, with_bias), kOfFloat) << "no longer";
}

TEST_F(PolicyGpuTest, Tf32HasTheSameBitsEachTimeAndInAnyPlaceOfABatch) {
    const Tensor x = to_device(drawn(1, {3, 128, 256}), Device::cuda()),
                 w = to_device(drawn(2, {256, 64}), Device::cuda());
    const Tensor same = concat(std::vector<Tensor>{x, x}, 0), ws = broadcast_to(w, {6, 256, 64});
    const WithPolicy less({Precision::tf32});
    const std::vector<float> first = matmul(same, ws).to<float>();
    EXPECT_EQ(matmul(same, ws).to<float>(), first);
    EXPECT_TRUE(std::equal(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(first.size() / 2),
                           first.begin() + static_cast<std::ptrdiff_t>(first.size() / 2)));
    const auto compiled = compile([](const Tensor& a, const Tensor& c) { return matmul(a, c); });
    for (int i = 0; i < 4; ++i) EXPECT_EQ(compiled(same, ws).to<float>(), first) << "as a CUDA graph in the end";
    {
        const WithPolicy exact(Policy{});
        EXPECT_NE(compiled(same, ws).to<float>(), first);
    }
    EXPECT_EQ(compiled(same, ws).to<float>(), first);
}

TEST_F(PolicyGpuTest, GradientsHaveThePolicyOfTheirProducts) {
    const Tensor x = drawn(1, {128, 256}), w = drawn(2, {256, 192}), dy = drawn(3, {128, 192});
    const auto gradient = [](const Tensor& a, const Tensor& c, const Tensor& d, const Policy& p) {
        TreeFunction back;
        {
            const WithPolicy scope(p);
            back = vjp([&](const Tree& t) { return Tree(matmul(t.tensor(), c)); }, Tree(a)).second;
        }
        return back(Tree(d)).tensor();
    };
    const auto wide = [](const Tensor& t) { return astype(t, DType::float64); };
    const auto there = [](const Tensor& t) { return to_device(t, Device::cuda()); };
    const Tensor expected = gradient(wide(x), wide(w), wide(dy), {});
    EXPECT_LT(error(gradient(there(x), there(w), there(dy), {}), expected), kOfFloat);
    expect_tf32(error(gradient(there(x), there(w), there(dy), {Precision::tf32}), expected), "a gradient");
}

TEST_F(PolicyGpuTest, AttentionsGradientsAreSummedInAnyOrderWhereAPolicyAllowsIt) {
    cuda::Gpu& gpu = cuda::Gpu::at(0);
    const Shape shape{1, 2048, 4, 64};
    const auto drawn_there = [&](std::uint64_t seed) {
        return to_device(astype(drawn(seed, shape), DType::bfloat16), Device::cuda()).eval();
    };
    const std::vector<Tree> operands{Tree(drawn_there(1)), Tree(drawn_there(2)), Tree(drawn_there(3))};
    const Tensor dy = drawn_there(4);
    std::int64_t bytes = 0;
    const auto gradients = [&](const Policy& p) {
        const WithPolicy scope(p);
        const auto attend = [](const Tree& t) {
            const std::vector<Tensor> x = t.leaves();
            return Tree(dot_product_attention(x[0], x[1], x[2], {.is_causal = true}));
        };
        std::vector<Tensor> all = vjp(attend, Tree::list(operands)).second(Tree(dy)).leaves();
        const std::int64_t before = gpu.memory_statistics().in_use;
        gpu.reset_peak_memory();
        eval(all);
        gpu.synchronize();
        bytes = gpu.memory_statistics().peak_in_use - before;
        return all;
    };
    const std::vector<Tensor> fixed = gradients({});
    const std::int64_t of_fixed = bytes;
    const std::vector<Tensor> any = gradients({.sum_order = SumOrder::any});
    const std::int64_t weights = 4 * shape[1] * shape[1] * 2;
    if (of_fixed < weights) GTEST_SKIP() << "there is no cuDNN";
    EXPECT_LT(bytes, of_fixed - weights / 2) << "the gradients of the weights are not in memory";
    for (std::size_t i = 0; i < 3; ++i) EXPECT_LT(error(any[i], astype(fixed[i], DType::float64)), 2e-2) << i;
}

}  // namespace
}  // namespace tenon
