// Which parts of a product's tape run in its kernel on a device, in graphs compiled for one; no GPU is needed.
#include <gtest/gtest.h>

#include <functional>

#include "schedule/compile_testing.h"
#include "schedule/device_primitives.h"
#include "schedule/plan.h"
#include "tenon/functions.h"

namespace tenon::schedule {
namespace {

constexpr std::int64_t kRows = 8192, kSummed = 512, kColumns = 1024;

struct Compiled {
    Tensor result;
    Graph graph;
    std::unique_ptr<Executable> executable;

    /// Explains a function's result, so that no handle to an intermediate is held.
    explicit Compiled(const std::function<Tensor()>& f) : result(f()) {
        Node* const root = result.node();
        Options o = options();
        o.verify = true;
        o.prologue = o.grouped = o.ignore_cost = false;  // as on a device
        graph = collect({&root, 1}, word(o));
        graph.device = Device::cuda(0);
        executable = compile(graph, o);
    }

    /// Why the only product's tape does not run in its kernel.
    std::string declines() const {
        for (const Task& t : executable->tasks) {
            if (t.kind != Task::Kind::product) continue;
            std::vector<View> in;
            for (const Operand& o : t.in) in.push_back(o.view);
            const std::span<const View> all(in);
            return tape_declines(*graph.nodes[t.node], all.first(t.product_operands), t.tape,
                                 all.subspan(t.product_operands), t.out[0].view, t.zeros);
        }
        return "no product with a tape";
    }
};

/// Each of them in memory.
Tensor values(const Shape& shape, DType dtype) { return astype(testing::values(shape), dtype).eval(); }

struct Operands {
    Tensor x, w, bias, matrix;
    explicit Operands(DType t)
        : x(values({kRows, kSummed}, t)),
          w(values({kColumns, kSummed}, t)),
          bias(values({kColumns}, t)),
          matrix(values({kRows, kColumns}, t)) {}
    Tensor product() const { return matmul(x, matrix_transpose(w)); }
};

TEST(DeviceProduct, WhatIsAddedInFloat32RunsInTheProduct) {
    const Operands o(DType::float32);
    EXPECT_EQ(Compiled([&] { return o.product() + o.bias; }).declines(), "");
    EXPECT_EQ(Compiled([&] { return o.matrix + o.product(); }).declines(), "");
    EXPECT_EQ(Compiled([&] { return relu(o.product()); }).declines(), "");
    EXPECT_EQ(Compiled([&] { return relu(o.product() + o.bias); }).declines(), "");
    EXPECT_NE(Compiled([&] { return gelu(o.product() + o.bias); }).declines().find("are a bias or a matrix"),
              std::string::npos);
    EXPECT_NE(Compiled([&] { return o.product() + o.bias + o.matrix; }).declines().find("are a bias or a matrix"),
              std::string::npos);
}

TEST(DeviceProduct, Bfloat16IsRoundedBeforeTheTape) {
    const Operands o(DType::bfloat16);
    EXPECT_EQ(Compiled([&] { return relu(o.product()); }).declines(), "");
    EXPECT_EQ(Compiled([&] { return gelu(o.product() + o.bias); }).declines(), "") << "by tiles of our own";
    const Tensor many = values({65536, kSummed}, DType::bfloat16);
    const auto of_many = [&] { return matmul(many, matrix_transpose(o.w)) + o.bias; };
    EXPECT_EQ(Compiled(of_many).declines(), "");
    EXPECT_NE(Compiled([&] { return gelu(of_many()); }).declines().find("faster in a loop"), std::string::npos);
    const Tensor across = values({kSummed, kColumns}, DType::bfloat16), long_x = values({kRows, 4096}, DType::bfloat16),
                 long_w = values({kColumns, 4096}, DType::bfloat16);
    EXPECT_EQ(Compiled([&] { return relu(matmul(o.x, across)); }).declines(), "") << "by cuBLASLt";
    EXPECT_NE(Compiled([&] { return matmul(o.x, across) + o.bias; }).declines().find("rounded before"),
              std::string::npos);
    EXPECT_NE(
        Compiled([&] { return matmul(long_x, matrix_transpose(long_w)) + o.bias; }).declines().find("1024 summed"),
        std::string::npos);
}

TEST(DeviceProduct, Float64HasNoBias) {
    const Operands o(DType::float64);
    EXPECT_EQ(Compiled([&] { return o.product() + o.matrix; }).declines(), "");
    EXPECT_NE(Compiled([&] { return o.product() + o.bias; }).declines().find("no bias in float64"), std::string::npos);
}

TEST(DeviceProduct, ScalesOfBytesRunInTheProduct) {
    const Tensor x = values({kRows, kSummed}, DType::uint8), w = values({kColumns, kSummed}, DType::int8),
                 scales = values({kColumns}, DType::float32);
    const auto sums = [&] { return matmul(astype(x, DType::int32), matrix_transpose(astype(w, DType::int32))); };
    const Compiled c([&] { return astype(astype(sums(), DType::float32) * scales, DType::bfloat16); });
    EXPECT_EQ(c.executable->tasks.size(), 1u) << "no operand is cast first";
    EXPECT_EQ(c.executable->tasks[0].in[0].view.dtype, DType::uint8);
    EXPECT_EQ(c.declines(), "");
    const Compiled alone(sums);
    EXPECT_EQ(alone.executable->tasks.size(), 1u);
}

}  // namespace
}  // namespace tenon::schedule
