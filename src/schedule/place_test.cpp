// The parts of placement that need no device: where operations are recorded, and which are refused.
#include "schedule/place.h"

#include <gtest/gtest.h>

#include <functional>

#include "primitive/leaf.h"
#include "schedule/evaluate.h"
#include "tenon/attention.h"
#include "tenon/error.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/linalg.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

/// A tensor that claims to be in a device's memory, which nothing may read.
Tensor elsewhere(const Shape& shape, Device device = Device::cuda(0)) {
    static float nothing[1];
    auto storage = Storage::of_device(device, nothing, 4, nullptr);
    return input({storage, {nothing, DType::float32, Layout::contiguous(shape)}});
}

Tensor here(const Shape& shape) { return to_device(zeros(shape), Device::cpu()).eval(); }

TEST(PlaceTest, NamesOfDevices) {
    EXPECT_EQ(to_string(Device::cpu()), "cpu");
    EXPECT_EQ(to_string(Device::cuda(3)), "cuda:3");
    EXPECT_EQ(device_of("cuda"), Device::cuda(0));
    EXPECT_EQ(device_of("cuda:12"), Device::cuda(12));
    EXPECT_EQ(device_of("cpu"), Device::cpu());
    for (const char* wrong : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1000", "cpu:0"})
        EXPECT_THROW(device_of(wrong), ValueError) << wrong;
}

TEST(PlaceTest, ResultsAreWhereOperandsAre) {
    const Tensor x = elsewhere({3, 4});
    EXPECT_EQ(x.device(), Device::cuda(0));
    EXPECT_EQ((x + 1).device(), Device::cuda(0));
    EXPECT_EQ((zeros({4}) * x + ones({3, 4})).device(), Device::cuda(0));
    EXPECT_EQ(matmul(x, transpose(x, {1, 0})).device(), Device::cuda(0));
    EXPECT_EQ(softmax(x, -1).device(), Device::cuda(0));
    EXPECT_EQ((x + random::normal(random::Key(1), {3, 4})).device(), Device::cuda(0));
    EXPECT_EQ((x * Tensor::from<float>({2}, Shape{})).device(), Device::cuda(0)) << "a number has no place";
    EXPECT_EQ(zeros({3}).device(), Device::cpu());
    EXPECT_EQ(Tensor::from<float>({1, 2}).device(), Device::cpu());
}

TEST(PlaceTest, MixedDevicesAreNamed) {
    const Tensor x = elsewhere({3}), y = here({3});
    for (const auto& [a, b] : {std::pair(x, y), std::pair(y, x)}) {
        try {
            a* b;
            FAIL();
        } catch (const ValueError& e) {
            const std::string what = e.what();
            for (const char* part : {"multiply", "(3,) float32 on cpu", "(3,) float32 on cuda:0", "to_device"})
                EXPECT_NE(what.find(part), std::string::npos) << what;
        }
    }
    EXPECT_THROW(x + elsewhere({3}, Device::cuda(1)), ValueError);
}

TEST(PlaceTest, ErrorsOfMixedDevicesNameTheFunctionThatWasCalled) {
    const Tensor x = elsewhere({3, 3}), y = here({3, 3}), v = here({3}), labels = astype(v, DType::int64);
    const Tensor heads = elsewhere({1, 3, 1, 3}), other = here({1, 3, 1, 3});
    const std::vector<std::pair<const char*, std::function<void()>>> calls{
        {"matmul", [&] { matmul(x, y); }},
        {"tensordot", [&] { tensordot(x, y); }},
        {"vecdot", [&] { vecdot(x, y); }},
        {"outer", [&] { outer(elsewhere({3}), v); }},
        {"einsum", [&] { einsum("ij,jk", x, y); }},
        {"hypot", [&] { hypot(x, y); }},
        {"greater", [&] { greater(x, y); }},
        {"logical_or", [&] { logical_or(astype(x, DType::boolean), astype(y, DType::boolean)); }},
        {"logaddexp", [&] { logaddexp(x, y); }},
        {"select", [&] { where(less(x, 0), y, 0); }},
        {"concat",
         [&] {
             concat({x, y});
         }},
        {"stack",
         [&] {
             stack({x, y});
         }},
        {"take", [&] { take(x, labels); }},
        {"take_along_axis", [&] { take_along_axis(x, astype(y, DType::int64)); }},
        {"searchsorted", [&] { searchsorted(v, x); }},
        {"layer_norm", [&] { layer_norm(x, v); }},
        {"rms_norm", [&] { rms_norm(x, v); }},
        {"cross_entropy", [&] { cross_entropy(x, labels); }},
        {"mse", [&] { mse(x, y); }},
        {"solve", [&] { linalg::solve(x, y); }},
        {"cholesky_solve", [&] { linalg::cholesky_solve(x, y); }},
        {"triangular_solve", [&] { linalg::triangular_solve(x, y); }},
        {"lstsq", [&] { linalg::lstsq(x, y); }},
        {"cross", [&] { linalg::cross(x, y); }},
        {"kron", [&] { linalg::kron(x, y); }},
        {"dot_product_attention", [&] { dot_product_attention(heads, other, heads); }},
        {"dot_product_attention", [&] { dot_product_attention(heads, heads, other); }},
        {"dot_product_attention",
         [&] {
             dot_product_attention(heads, heads, heads, {.bias = here({3, 3})});
         }},
        {"Dense", [&] { map::Dense::from(x)(y); }},
        {"LowRank", [&] { map::LowRank::from(x, x)(y); }},
    };
    for (const auto& [op, call] : calls) {
        try {
            call();
            ADD_FAILURE() << op << " takes operands on two devices";
        } catch (const ValueError& e) {
            const std::string what = e.what();
            EXPECT_TRUE(what.starts_with(std::string(op) + " of ")) << op << " says " << what;
            for (const char* part : {" on cpu", " on cuda:0", "to_device moves a tensor"})
                EXPECT_NE(what.find(part), std::string::npos) << what;
        }
    }
}

TEST(PlaceTest, MemoryOfADeviceIsNotReadInPlace) {
    const Tensor x = elsewhere({3});
    for (const auto& read : {+[](const Tensor& t) { t.data<float>(); }, +[](const Tensor& t) { t.host(); }}) {
        try {
            read(x);
            FAIL();
        } catch (const ValueError& e) {
            EXPECT_NE(std::string(e.what()).find("cuda:0"), std::string::npos) << e.what();
        }
    }
}

TEST(PlaceTest, TransfersWithinTheCpu) {
    const Tensor x = zeros({3}) + 1;
    const Tensor placed = to_device(x, Device::cpu());
    EXPECT_NE(placed.node(), x.node());
    EXPECT_EQ(to_device(placed, Device::cpu()).node(), placed.node());
    EXPECT_EQ((placed * 2).to<float>(), (std::vector<float>{2, 2, 2}));
    // Through gradients, and in graphs that come back.
    const auto f = [](const Tensor& t) { return sum(square(to_device(t * 3, Device::cpu()))); };
    for (int i = 0; i < 4; ++i) {
        const Tensor g = grad(f)(arange(3.0f));
        EXPECT_EQ(g.to<float>(), (std::vector<float>{0, 18, 36}));
    }
}

TEST(PlaceTest, ATransferToAnAbsentDeviceSaysWhy) {
    if (cuda_absent().empty()) GTEST_SKIP() << "it is there";
    const Tensor y = to_device(here({3}), Device::cuda(0)) + 1;
    EXPECT_EQ(y.device(), Device::cuda(0));
    try {
        y.eval();
        FAIL();
    } catch (const ValueError& e) {
        EXPECT_NE(std::string(e.what()).find(cuda_absent()), std::string::npos) << e.what();
        EXPECT_NE(std::string(e.what()).find("to_device"), std::string::npos) << e.what();
    }
    EXPECT_THROW(synchronize(Device::cuda(0)), ValueError);
    EXPECT_NO_THROW(synchronize(Device::cpu()));
    EXPECT_THROW(device_properties(Device::cuda(0)), ValueError);
    EXPECT_THROW(device_properties(Device::cpu()), ValueError);
    EXPECT_EQ(cuda_device_count() == 0, true);
}

TEST(PlaceTest, ExplainSaysWhere) {
    const Tensor x = elsewhere({8, 8});
    const std::string s = explain(matmul(x, x) + 1);
    EXPECT_NE(s.find("on cuda:0"), std::string::npos) << s;
    EXPECT_NE(s.find("cuBLASLt"), std::string::npos) << s;
    const std::string moved = explain(to_device(here({4}) * 2, Device::cuda(0)) + 1);
    EXPECT_NE(moved.find("2 tasks on cuda:0"), std::string::npos) << moved;
    EXPECT_EQ(explain(here({4}) + 1).find(" on "), std::string::npos);
}

TEST(PlaceTest, GraphsOfDevicesAreApart) {
    // The same structure twice on the CPU, then claimed for a device that is not there: no plan of the one serves the
    // other.
    for (int i = 0; i < 3; ++i) EXPECT_EQ((here({5}) * 2 + 1).to<float>()[0], 1);
    if (cuda_absent().empty()) GTEST_SKIP() << "the device is there";
    EXPECT_THROW((elsewhere({5}) * 2 + 1).eval(), ValueError);
    EXPECT_EQ((here({5}) * 2 + 1).to<float>()[0], 1);
}

}  // namespace
}  // namespace tenon::schedule
