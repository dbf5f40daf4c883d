// A network trained on the device: the losses of the CPU up to the products' rounding, the same bits on repeated runs,
// and no primitive of it on the host.
#include <gtest/gtest.h>

#include <tuple>

#include "cuda/gpu_testing.h"
#include "schedule/evaluate.h"
#include "schedule/random_graph_testing.h"
#include "tenon/compile.h"
#include "tenon/functions.h"
#include "tenon/nn.h"
#include "tenon/optim.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using TrainingGpuTest = cuda::testing::GpuTest;

constexpr int kSteps = 6;

std::vector<double> losses(const char* structure, Device device, std::vector<Tensor>* last = nullptr,
                           bool compiled = false) {
    const nn::Mlp model =
        nn::Mlp::random(random::Key(7), {.in = 64, .width = 64, .depth = 2, .classes = 10, .structure = structure});
    const optim::AdamW optimizer({.learning_rate = 1e-2, .weight_decay = 1e-2});
    Tree params = parameters(model), state = optimizer.init(params);
    const auto recorded_step = [&](const Tree& p, const Tree& s, const Tensor& x, const Tensor& y) {
        auto [loss, grads] =
            value_and_grad_at([&](const Tree& t) { return cross_entropy(with_parameters(model, t)(x), y); }, p);
        grads = optim::clip_by_global_norm(grads, 1.0);
        auto [next, after] = optimizer.update(p, grads, s, {loss});
        return std::tuple(loss, next, after);
    };
    const auto compiled_step = tenon::compile(recorded_step);
    std::vector<double> values;
    for (int step = 0; step < kSteps; ++step) {
        const auto key = random::Key(100 + static_cast<std::uint64_t>(step));
        const Tensor x = to_device(random::normal(key, {32, 64}), device);
        const Tensor y = to_device(astype(floor(random::uniform(key.split(2)[1], {32}) * 10), DType::int64), device);
        Tensor loss;
        std::tie(loss, params, state) =
            compiled ? compiled_step(params, state, x, y) : recorded_step(params, state, x, y);
        values.push_back(loss.item<double>());
    }
    if (last) *last = params.leaves();
    return values;
}

TEST_F(TrainingGpuTest, LossesOfTheCpu) {
    for (const char* structure : {"dense", "btt", "monarch", "low-rank"}) {
        const auto here = losses(structure, Device::cpu()), there = losses(structure, Device::cuda(0));
        for (int i = 0; i < kSteps; ++i)
            EXPECT_NEAR(there[static_cast<std::size_t>(i)], here[static_cast<std::size_t>(i)],
                        1e-3 * here[static_cast<std::size_t>(i)])
                << structure << " step " << i;
    }
}

TEST_F(TrainingGpuTest, StepsThatAreCompiledFunctions) {
    for (const char* structure : {"dense", "btt"}) {
        std::vector<Tensor> last;
        const auto here = losses(structure, Device::cpu()), there = losses(structure, Device::cuda(0), &last, true);
        for (std::size_t i = 0; i < here.size(); ++i)
            EXPECT_NEAR(there[i], here[i], 1e-3 * here[i]) << structure << " step " << i;
        for (const Tensor& t : last) EXPECT_EQ(t.device(), Device::cuda(0));
    }
}

TEST_F(TrainingGpuTest, TheSameBitsEachTime) {
    std::vector<Tensor> a, b;
    EXPECT_EQ(losses("btt", Device::cuda(0), &a), losses("btt", Device::cuda(0), &b));
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].device(), Device::cuda(0));
        EXPECT_TRUE(testing::same_bits(to_device(a[i], Device::cpu()), to_device(b[i], Device::cpu()))) << i;
    }
}

}  // namespace
}  // namespace tenon::schedule
