// Layers in graphs on a GPU: one pass forward and one backward, with the values of the products apart.
#include <gtest/gtest.h>

#include <cmath>

#include "cuda/gpu_testing.h"
#include "schedule/evaluate.h"
#include "schedule/options.h"
#include "schedule/random_graph_testing.h"
#include "tenon/compile.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

class DeviceChainGpuTest : public cuda::testing::GpuTest {
  protected:
    void SetUp() override {
        GpuTest::SetUp();
        if (!IsSkipped() && cuda::Gpu::at(0).major() != 9) GTEST_SKIP() << "the kernels are of compute capability 9.0";
    }
};

LinearMap on_gpu(const LinearMap& map) {
    std::vector<Tensor> leaves;
    for (const Tensor& t : map.parameters().leaves())
        leaves.push_back(to_device(astype(t, DType::bfloat16), Device::cuda(0)));
    eval(leaves);
    return map.with_parameters(map.parameters().with_leaves(leaves));
}

Tensor values(std::uint64_t seed, const Shape& shape) {
    const Tensor t = to_device(astype(random::normal(random::Key(seed), shape), DType::bfloat16), Device::cuda(0));
    t.eval();
    return t;
}

Tensor exact(const Tensor& t) { return astype(to_device(t, Device::cpu()), DType::float64); }

double difference(const Tensor& a, const Tensor& b) {
    const auto x = a.to<double>(), y = b.to<double>();
    double d = 0, n = 0;
    for (std::size_t i = 0; i < x.size(); ++i) d += (x[i] - y[i]) * (x[i] - y[i]), n += y[i] * y[i];
    return std::sqrt(d / n);
}

/// The third time: compiled the second, run once more. `chains` counts those of the compiled graph.
template <class F>
std::vector<Tensor> compiled(F&& f, bool chain, std::int64_t& chains) {
    Options o = options();
    o.chain = chain, o.verify = o.poison = true;
    const WithOptions with(o);
    const std::int64_t before = statistics().chains;
    std::vector<Tensor> out;
    for (int i = 0; i < 3; ++i) {
        out = f();
        eval(out);
    }
    chains = statistics().chains - before;
    return out;
}

constexpr double kRounding = 4e-3;  // of bf16, of sums in another order

TEST_F(DeviceChainGpuTest, ALayerIsOnePass) {
    for (const std::int64_t width : {1024, 4096, 16384})
        for (const std::int64_t rank : {1, 2, 4})
            for (const std::int64_t rows : {1, 8, 77, 200}) {
                const LinearMap map =
                    on_gpu(map::BlockTensorTrain::random(random::Key(3), width, width, {.rank = rank}));
                const Tensor x = values(4, {rows, width});
                std::int64_t chains = 0, none = 0;
                const auto f = [&] { return std::vector<Tensor>{map(x)}; };
                const auto one = compiled(f, true, chains), two = compiled(f, false, none);
                EXPECT_EQ(chains, 1) << width << " " << rank << " " << rows;
                EXPECT_EQ(none, 0);
                EXPECT_LT(difference(one[0], two[0]), kRounding) << width << " " << rank << " " << rows;
            }
}

/// y, and the gradients of the cores and of x.
std::vector<Tensor> training_step(const LinearMap& map, const Tensor& x, const Tensor& dy) {
    const Tree at({{"layer", map.parameters()}, {"x", x}});
    const auto [y, back] =
        vjp([&](const Tree& t) { return Tree(map.with_parameters(t["layer"])(t["x"].tensor())); }, at);
    std::vector<Tensor> all = back(Tree(dy)).leaves();
    all.push_back(y.tensor());  // else the second product of the layer is not computed
    return all;
}

TEST_F(DeviceChainGpuTest, ATrainingStepIsTwoPassesAndTheCoresGradients) {
    for (const std::int64_t width : {1024, 4096, 16384})
        for (const std::int64_t rank : {1, 2, 4})
            for (const std::int64_t rows : {128, 200, 36}) {  // kept in the kernels' form, unpacked, and no eights
                const LinearMap map =
                    on_gpu(map::BlockTensorTrain::random(random::Key(5), width, width, {.rank = rank}));
                const Tensor x = values(6, {rows, width}), dy = values(7, {rows, width});
                const auto f = [&] { return training_step(map, x, dy); };
                std::int64_t chains = 0, none = 0;
                const auto one = compiled(f, true, chains), two = compiled(f, false, none);
                EXPECT_EQ(chains, width < 16384 && rows % 8 ? 0 : 2) << width << " " << rank << " " << rows;
                ASSERT_EQ(one.size(), two.size());
                for (std::size_t i = 0; i < one.size(); ++i)
                    EXPECT_LT(difference(one[i], two[i]), kRounding)
                        << width << " " << rank << " " << rows << " result " << i;
            }
}

TEST_F(DeviceChainGpuTest, ACompiledFunctionHasTheBitsOfTheSameValuesReadTogether) {
    for (const std::int64_t width : {1024, 4096})
        for (const std::int64_t rank : {1, 2, 4})
            for (const std::int64_t rows : {256, 1000, 2048}) {
                const LinearMap map =
                    on_gpu(map::BlockTensorTrain::random(random::Key(5), width, width, {.rank = rank}));
                const Tensor x = values(6, {rows, width}), dy = values(7, {rows, width});
                std::int64_t chains = 0;
                const auto together = compiled([&] { return training_step(map, x, dy); }, true, chains);
                const auto function =
                    tenon::compile([&](const Tensor& v, const Tensor& d) { return training_step(map, v, d); })(x, dy);
                for (std::size_t i = 0; i < together.size(); ++i)
                    EXPECT_TRUE(testing::same_bits(function[i], together[i]))
                        << width << " " << rank << " " << rows << " result " << i;
            }
}

/// Against f64 from the same bf16 values: no worse than cuBLAS's two products.
TEST_F(DeviceChainGpuTest, ErrorsOfALayerThatWidensAreThoseOfTwoProducts) {
    const LinearMap map = on_gpu(map::BlockTensorTrain::random(random::Key(18), 16384, 4096, {.rank = 1}));
    const Tensor x = values(19, {1024, 4096});
    std::vector<Tensor> leaves;
    for (const Tensor& t : map.parameters().leaves()) leaves.push_back(exact(t));
    const Tensor want = map.with_parameters(map.parameters().with_leaves(leaves))(exact(x));
    const auto f = [&] { return std::vector<Tensor>{map(x)}; };
    std::int64_t chains = 0, none = 0;
    const auto one = compiled(f, true, chains), two = compiled(f, false, none);
    EXPECT_EQ(chains, 1);
    const double ours = difference(one[0], want), cublas = difference(two[0], want);
    EXPECT_LE(ours, 1.05 * cublas);
    RecordProperty("errors", std::to_string(ours) + " " + std::to_string(cublas));
}

TEST_F(DeviceChainGpuTest, ErrorsAreThoseOfTwoProducts) {
    for (const std::int64_t width : {1024, 4096, 16384})
        for (const std::int64_t rank : {1, 2, 4}) {
            const std::int64_t rows = width == 16384 ? 64 : 512;
            const LinearMap map = on_gpu(map::BlockTensorTrain::random(random::Key(15), width, width, {.rank = rank}));
            const Tensor x = values(16, {rows, width}), dy = values(17, {rows, width});
            std::vector<Tensor> leaves;
            for (const Tensor& t : map.parameters().leaves()) leaves.push_back(exact(t));
            const std::vector<Tensor> want =
                training_step(map.with_parameters(map.parameters().with_leaves(leaves)), exact(x), exact(dy));
            const auto f = [&] { return training_step(map, x, dy); };
            std::int64_t chains = 0, none = 0;
            const auto one = compiled(f, true, chains), two = compiled(f, false, none);
            for (std::size_t i = 0; i < want.size(); ++i) {
                const double ours = difference(one[i], want[i]), cublas = difference(two[i], want[i]);
                EXPECT_LE(ours, 1.05 * cublas) << width << " " << rank << " result " << i;
                RecordProperty(
                    "width_" + std::to_string(width) + "_rank_" + std::to_string(rank) + "_result_" + std::to_string(i),
                    std::to_string(ours) + " " + std::to_string(cublas));
            }
        }
}

TEST_F(DeviceChainGpuTest, AKroneckerLayerIsAPassEachWayAndTheCoresGradients) {
    const LinearMap map = on_gpu(map::random("kronecker", random::Key(21), 4096, 4096));
    for (const std::int64_t rows : {1, 3, 256, 1000, 2500}) {
        const Tensor x = values(22, {rows, 4096}), dy = values(23, {rows, 4096});
        std::int64_t chains = 0, none = 0;
        const auto forward = [&] { return std::vector<Tensor>{map(x)}; };
        const auto y = compiled(forward, true, chains), apart = compiled(forward, false, none);
        EXPECT_EQ(chains, 1) << rows;
        EXPECT_LT(difference(y[0], apart[0]), kRounding) << rows;
        const auto step = [&] { return training_step(map, x, dy); };
        const auto one = compiled(step, true, chains), two = compiled(step, false, none);
        EXPECT_EQ(chains, 2) << rows;
        for (std::size_t i = 0; i < one.size(); ++i)
            EXPECT_LT(difference(one[i], two[i]), kRounding) << rows << " result " << i;
        EXPECT_TRUE(testing::same_bits(one.back(), y[0])) << rows << ": what is kept changes nothing";
        const auto exact = [](const Tensor& t) { return astype(to_device(t, Device::cpu()), DType::float64); };
        const LinearMap there = map.with_parameters(map.parameters().map(exact));
        const std::vector<Tensor> want = training_step(there, exact(x), exact(dy));
        for (std::size_t i = 0; i < one.size(); ++i)
            EXPECT_LT(difference(one[i], want[i]), 2 * kRounding) << rows << " result " << i;
    }
}

/// A tensor of these values whose memory begins two bytes beyond a multiple of 16.
Tensor askew(const Tensor& t) {
    const std::int64_t n = count(t.shape());
    const Tensor flat = reshape(t, {n}), longer = concat({slice(flat, {0}, {1}, {1}), flat}, 0).eval();
    return reshape(slice(longer, {1}, {n + 1}, {1}), t.shape());
}

TEST_F(DeviceChainGpuTest, OperandsMayLieAnywhere) {
    for (const std::int64_t width : {1024, 4096, 16384})
        for (const std::int64_t rows : {1, 64, 128}) {
            const LinearMap map = on_gpu(map::BlockTensorTrain::random(random::Key(31), width, width, {.rank = 1}));
            const LinearMap off = map.with_parameters(map.parameters().map([](const Tensor& t) { return askew(t); }));
            const Tensor x = values(32, {rows, width}), dy = values(33, {rows, width});
            std::int64_t chains = 0, same = 0;
            const auto plain = compiled([&] { return training_step(map, x, dy); }, true, chains);
            const auto moved = compiled([&] { return training_step(off, askew(x), askew(dy)); }, true, same);
            if (rows > 1) {
                EXPECT_EQ(same, 2) << width << " " << rows;
            }
            for (std::size_t i = 0; i < plain.size(); ++i)
                EXPECT_TRUE(testing::same_bits(plain[i], moved[i])) << width << " " << rows << " result " << i;
        }
}

TEST_F(DeviceChainGpuTest, WorkThatReducesRowsStaysBetweenTwoProducts) {
    const Tensor q = values(8, {4, 64, 32}), k = values(9, {4, 128, 32}), v = values(10, {4, 128, 32});
    const auto f = [&] { return std::vector<Tensor>{matmul(softmax(matmul(q, transpose(k, {0, 2, 1})), -1), v)}; };
    std::int64_t chains = 0, none = 0;
    const auto one = compiled(f, true, chains), two = compiled(f, false, none);
    EXPECT_EQ(chains, 0);
    EXPECT_LT(difference(one[0], two[0]), kRounding);
}

}  // namespace
}  // namespace tenon::schedule
