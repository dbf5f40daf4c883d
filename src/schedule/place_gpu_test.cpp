// Tensors on the device: placement, transfers, graphs node by node and compiled, and the host's bits for all that is no
// product.
#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/gpu_testing.h"
#include "schedule/evaluate.h"
#include "schedule/options.h"
#include "schedule/random_graph_testing.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using PlaceGpuTest = cuda::testing::GpuTest;
using testing::same_bits;

constexpr Device kGpu = Device::cuda(0);

Tensor numbers(const Shape& shape, std::uint64_t seed = 1) { return random::normal(random::Key(seed), shape).eval(); }

TEST_F(PlaceGpuTest, TransfersAndBack) {
    const Tensor x = to_device(numbers({30, 40}), Device::cpu());
    const Tensor y = to_device(x, kGpu);
    EXPECT_EQ(y.device(), kGpu);
    EXPECT_EQ(to_device(y, kGpu).node(), y.node());
    EXPECT_EQ(y.to<float>(), x.to<float>());
    EXPECT_TRUE(same_bits(to_device(transpose(y, {1, 0}), Device::cpu()), transpose(x, {1, 0})));
    EXPECT_EQ(to_string(y), to_string(x));
    EXPECT_EQ(y.at({2, 3}).item<float>(), x.at({2, 3}).item<float>());
    EXPECT_THROW(y.data<float>(), ValueError);
    EXPECT_THROW(y.host(), ValueError);
}

TEST_F(PlaceGpuTest, MixedDevicesAreRefused) {
    const Tensor x = to_device(numbers({3}), Device::cpu()), y = to_device(x, kGpu);
    try {
        x + y;
        FAIL();
    } catch (const ValueError& e) {
        const std::string what = e.what();
        EXPECT_NE(what.find("on cpu"), std::string::npos) << what;
        EXPECT_NE(what.find("on cuda:0"), std::string::npos) << what;
    }
}

TEST_F(PlaceGpuTest, NumbersAndConstantsFollow) {
    const Tensor y = to_device(numbers({3, 4}), kGpu);
    const Tensor mask = arange(4) * 2;
    mask.eval();  // on the CPU, and then where it is needed
    const Tensor z = (y * 2 + 1) * zeros({4}) + astype(mask, DType::float32);
    EXPECT_EQ(z.device(), kGpu);
    EXPECT_EQ(z.to<float>(), (std::vector<float>{0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6}));
    EXPECT_EQ(mask.to<std::int64_t>(), (std::vector<std::int64_t>{0, 2, 4, 6}));
    // Made on the device, and read on the host.
    const Tensor ones_there = ones({4}, DType::int64) + arange(4);
    eval({y + astype(ones_there, DType::float32)});
    EXPECT_EQ(ones_there.device(), Device::cpu());
    EXPECT_EQ(ones_there.to<std::int64_t>(), (std::vector<std::int64_t>{1, 2, 3, 4}));
    const Tensor on_cpu = to_device(numbers({4}), Device::cpu());
    EXPECT_EQ((on_cpu * 0 + astype(ones_there, DType::float32)).to<float>(), (std::vector<float>{1, 2, 3, 4}));
}

TEST_F(PlaceGpuTest, RandomNumbersHaveTheSameBits) {
    const Tensor cpu = random::uniform(random::Key(5), {1000});
    const Tensor there = to_device(zeros({1000}), kGpu) + random::uniform(random::Key(5), {1000});
    EXPECT_TRUE(same_bits(to_device(there, Device::cpu()), cpu));
}

Tensor network(const Tensor& x, const Tensor& w) { return sum(square(tanh(x * w) + softmax(x, -1)), 0); }

TEST_F(PlaceGpuTest, CompiledAsNodeByNode) {
    const Tensor w = to_device(numbers({50}, 3), Device::cpu());
    for (int i = 0; i < 5; ++i) {
        const Tensor x = to_device(numbers({64, 50}, static_cast<std::uint64_t>(i)), Device::cpu());
        const Tensor there = network(to_device(x, kGpu), to_device(w, kGpu));
        EXPECT_TRUE(same_bits(to_device(there, Device::cpu()), network(x, w))) << i;
    }
}

TEST_F(PlaceGpuTest, GradientsPassTransfers) {
    const auto loss = [](const Tensor& x) { return sum(square(to_device(to_device(x, kGpu) * 3, Device::cpu()))); };
    const Tensor x = to_device(numbers({10}), Device::cpu());
    const Tensor g = grad(loss)(x);
    EXPECT_EQ(g.device(), Device::cpu());
    EXPECT_TRUE(same_bits(g, grad([](const Tensor& t) { return sum(square(t * 3)); })(x)));
}

TEST_F(PlaceGpuTest, RandomGraphs) {
    int compared = 0;
    for (std::uint64_t seed = 1; seed <= 600; ++seed) {
        const testing::RandomGraph g = testing::random_graph(seed);
        // Indices made inside a graph are on the CPU, and products have the bits of the library.
        if (std::any_of(g.nodes.begin(), g.nodes.end(), [](const testing::RandomNode& n) {
                return n.op == "gather" || n.op == "matmul" || n.op == "linear" || n.op == "attention" ||
                       n.op == "two_products" || n.op == "two_joined" || n.op == "product_of_views" ||
                       n.op == "diagonal_product";
            }))
            continue;
        std::vector<Tensor> here, there;
        for (const Tensor& t : g.values(seed)) {
            here.push_back(to_device(t, Device::cpu()));
            there.push_back(to_device(here.back(), kGpu));
        }
        for (int again = 0; again < 3; ++again) {
            std::vector<Tensor> a, b;
            {
                const auto all_a = g.record(here), all_b = g.record(there);
                for (const std::size_t o : g.outputs) a.push_back(all_a[o]), b.push_back(all_b[o]);
            }
            eval(a);
            eval(b);
            for (std::size_t o = 0; o < a.size(); ++o, ++compared)
                ASSERT_TRUE(same_bits(to_device(b[o], Device::cpu()), a[o]))
                    << "seed " << seed << " run " << again << " output " << o << "\n"
                    << to_string(g, seed);
        }
    }
    EXPECT_GT(compared, 100);
}

TEST_F(PlaceGpuTest, OutOfMemoryLeavesTensorsIntact) {
    const Tensor x = to_device(numbers({100}), kGpu).eval();
    EXPECT_THROW((broadcast_to(reshape(x, {100, 1}), {100, std::int64_t{1} << 40}) + 1).eval(), MemoryError);
    EXPECT_EQ(x.to<float>(), numbers({100}).to<float>());
    EXPECT_GT(device_memory_statistics(kGpu).in_use, 0);
}

}  // namespace
}  // namespace tenon::schedule
