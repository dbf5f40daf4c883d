// Products through tapes in one kernel have the bits of storing the product and running the tape over it. Products of
// bytes are exact.
#include "cuda/product_tape.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cuda/blas.h"
#include "cuda/gpu_testing.h"
#include "cuda/loops.h"
#include "product/contract.h"
#include "tape/testing.h"

namespace tenon::cuda {
namespace {

using tape::testing::Array;

constexpr std::uint8_t kBatchRowSum[] = {3, 0, 1}, kBatchColumnSum[] = {3, 2, 1}, kBatchRowColumn[] = {3, 0, 2},
                       kRowSum[] = {0, 1}, kColumnSum[] = {2, 1}, kRowColumn[] = {0, 2};

class ProductTapeGpuTest : public testing::GpuTest {};

struct OnDevice {
    Array host;
    std::shared_ptr<Storage> storage;
    explicit OnDevice(Array a) : host(std::move(a)) {
        const auto bytes = static_cast<std::int64_t>(host.bytes.size());
        storage = Gpu::at(0).allocate(bytes);
        Gpu::at(0).to_device(storage->data(), host.bytes.data(), bytes);
    }
    View view() { return {storage->data(), host.dtype, Layout::contiguous(host.view().shape())}; }
    Array read() {
        Array a = host;
        Gpu::at(0).to_host(a.bytes.data(), storage->data(), storage->bytes());
        return a;
    }
};

OnDevice random(DType t, const Shape& shape, unsigned seed) {
    return OnDevice(tape::testing::random_array(t, shape, seed));
}

struct Sizes {
    std::int64_t m, n, k, batch;
};

View broadcast(View v, const Shape& shape) {
    v.layout = v.layout.broadcast(shape);
    return v;
}

/// tanh(p + x1) * x2 of the product p, where x1 has a value for each column, and x2 has the result's shape.
tape::Tape bias_tanh_times(DType t) {
    return {
        {t, t, t},
        {{tape::Opcode::add, t, t, {0, 1}}, {tape::Opcode::tanh, t, t, {3}}, {tape::Opcode::multiply, t, t, {4, 2}}},
        {5}};
}

TEST_F(ProductTapeGpuTest, TilesHaveTheBitsOfProductAndTape) {
    Gpu& gpu = Gpu::at(0);
    if (gpu.major() != 9) GTEST_SKIP() << "compute capability 9.0";
    for (const DType t : {DType::bfloat16, DType::float16})
        for (const Sizes& s :
             {Sizes{1024, 1024, 512, 1}, {2080, 2056, 1000, 1}, {2048, 128, 64, 4}, {300, 1032, 72, 4}}) {
            OnDevice a = random(t, {s.batch, s.m, s.k}, 1), b = random(t, {s.batch, s.n, s.k}, 2),
                     bias = random(t, {s.n}, 3), times = random(t, {s.batch, s.m, s.n}, 4),
                     product = random(t, {s.batch, s.m, s.n}, 5), out = random(t, {s.batch, s.m, s.n}, 6),
                     fused = random(t, {s.batch, s.m, s.n}, 7);
            const product::Labels labels{kBatchRowSum, kBatchColumnSum, kBatchRowColumn};
            const tape::Tape tape = bias_tanh_times(t);
            const View o = fused.view(), y = out.view();
            const std::vector<View> more{broadcast(bias.view(), {s.batch, s.m, s.n}), times.view()};
            ASSERT_TRUE(contract(gpu, a.view(), b.view(), product.view(), labels));
            const std::vector<View> in{product.view(), more[0], more[1]};
            run(gpu, tape, in, {&y, 1});
            ASSERT_EQ(declines(ProductTape{a.view(), b.view(), o, labels, t, tape, more, 0}), "");
            ASSERT_TRUE(run(gpu, ProductTape{a.view(), b.view(), o, labels, t, tape, more, 0}));
            EXPECT_EQ(fused.read().bytes, out.read().bytes) << name(t) << " " << s.m << "x" << s.n << "x" << s.k;
        }
}

TEST_F(ProductTapeGpuTest, WhatCuBLASLtAddsHasTheBitsOfProductAndTape) {
    Gpu& gpu = Gpu::at(0);
    if (!blas_absent().empty()) GTEST_SKIP() << blas_absent();
    int ran = 0;
    for (const DType t : {DType::float32, DType::float64})
        for (const Sizes& s : {Sizes{512, 768, 3072, 1}, {100, 36, 20, 1}, {1024, 1024, 64, 1}, {16, 4096, 4096, 1}})
            for (const bool bias : {true, false}) {
                OnDevice a = random(t, {s.m, s.k}, 1), b = random(t, {s.n, s.k}, 2), v = random(t, {s.n}, 3),
                         matrix = random(t, {s.m, s.n}, 4), product = random(t, {s.m, s.n}, 5),
                         out = random(t, {s.m, s.n}, 6), fused = random(t, {s.m, s.n}, 7);
                const product::Labels labels{kRowSum, kColumnSum, kRowColumn};
                const tape::Tape tape{{t, t}, {{tape::Opcode::add, t, t, {0, 1}}}, {2}};
                const View o = fused.view(), y = out.view();
                const View more = bias ? broadcast(v.view(), {s.m, s.n}) : matrix.view();
                ASSERT_TRUE(contract(gpu, a.view(), b.view(), product.view(), labels));
                const std::vector<View> in{product.view(), more};
                run(gpu, tape, in, {&y, 1});
                if (bias && t == DType::float64) {
                    EXPECT_NE(declines(ProductTape{a.view(), b.view(), o, labels, t, tape, {&more, 1}}), "");
                    continue;
                }
                EXPECT_EQ(declines(ProductTape{a.view(), b.view(), o, labels, t, tape, {&more, 1}}), "");
                if (!run(gpu, ProductTape{a.view(), b.view(), o, labels, t, tape, {&more, 1}})) continue;
                ++ran;
                EXPECT_EQ(fused.read().bytes, out.read().bytes)
                    << name(t) << " " << s.m << "x" << s.n << "x" << s.k << (bias ? " bias" : " matrix");
                if (bias) continue;
                // The result is stored in the addend's memory.
                const View m = matrix.view();
                ASSERT_TRUE(run(gpu, ProductTape{a.view(), b.view(), m, labels, t, tape, {&m, 1}}));
                EXPECT_EQ(matrix.read().bytes, out.read().bytes) << name(t) << " in place";
            }
    EXPECT_GT(ran, 0);
}

/// x <= 0 ? 0 : x of a register x, with the register `zero` for the constant.
void add_relu(tape::Tape& tape, DType t, std::uint8_t x, std::uint8_t zero) {
    const auto below = static_cast<std::uint8_t>(tape.inputs.size() + tape.code.size());
    tape.code.push_back({tape::Opcode::less_equal, t, DType::boolean, {x, zero}});
    tape.code.push_back({tape::Opcode::select, t, t, {below, zero, x}});
    tape.outputs = {static_cast<std::uint8_t>(below + 1)};
}

TEST_F(ProductTapeGpuTest, ReluOfCuBLASLtHasTheBitsOfTheTape) {
    Gpu& gpu = Gpu::at(0);
    if (!blas_absent().empty()) GTEST_SKIP() << blas_absent();
    const Sizes s{512, 1024, 2048, 1};
    for (const DType t : {DType::float32, DType::bfloat16, DType::float16}) {
        Array with_nan = tape::testing::random_array(t, {s.m, s.k}, 1);
        std::fill_n(with_nan.bytes.begin(), size_of(t), std::byte{0xFF});  // The sums of the first row are NaN.
        OnDevice a(std::move(with_nan)), b = random(t, {s.n, s.k}, 2), bias = random(t, {s.n}, 3),
                                         product = random(t, {s.m, s.n}, 4), out = random(t, {s.m, s.n}, 5),
                                         fused = random(t, {s.m, s.n}, 6);
        const auto zero = gpu.allocate(8);
        gpu.fill_bytes(zero->data(), 0, 8);
        const Shape shape{s.m, s.n};
        const View none{zero->data(), t, Layout{}.broadcast(shape)}, o = fused.view(), y = out.view();
        const bool adds = t == DType::float32;
        tape::Tape tape{{t, t}, {}, {}};
        std::vector<View> more{none};
        if (adds) {
            tape.inputs.push_back(t), more.push_back(broadcast(bias.view(), shape));
            tape.code.push_back({tape::Opcode::add, t, t, {0, 2}});
        }
        add_relu(tape, t, adds ? 3 : 0, 1);
        const product::Labels labels{kRowSum, kColumnSum, kRowColumn};
        ASSERT_TRUE(contract(gpu, a.view(), b.view(), product.view(), labels));
        std::vector<View> in{product.view()};
        in.insert(in.end(), more.begin(), more.end());
        run(gpu, tape, in, {&y, 1});
        const ProductTape p{a.view(), b.view(), o, labels, t, tape, more, 1};
        ASSERT_EQ(declines(p), "") << name(t);
        EXPECT_FALSE(is_ours(p));
        if (run(gpu, p)) {
            EXPECT_EQ(fused.read().bytes, out.read().bytes) << name(t);
        }
    }
}

TEST_F(ProductTapeGpuTest, ProductsOfBytesAreExact) {
    Gpu& gpu = Gpu::at(0);
    if (gpu.major() != 9) GTEST_SKIP() << "compute capability 9.0";
    for (const DType ta : {DType::int8, DType::uint8})
        for (const DType tb : {DType::int8, DType::uint8})
            for (const Sizes& s : {Sizes{256, 512, 1024, 1},
                                   {100, 52, 48, 3},
                                   {33, 7, 5, 2},
                                   {130, 260, 4100, 1},
                                   {2080, 2052, 1040, 1},
                                   {16, 512, 1024, 1},
                                   {1, 4096, 4112, 1},
                                   {7, 272, 208, 3},
                                   {13, 516, 144, 1},
                                   {32, 4096, 1040, 1},
                                   {17, 144, 2064, 2},
                                   {9, 130, 72, 1}}) {
                OnDevice a = random(ta, {s.batch, s.m, s.k}, 1), b = random(tb, {s.batch, s.n, s.k}, 2),
                         out = random(DType::int32, {s.batch, s.m, s.n}, 3);
                Array expected(DType::int32, {s.batch, s.m, s.n});
                const product::Labels labels{kBatchRowSum, kBatchColumnSum, kBatchRowColumn};
                product::contract(a.host.view(), b.host.view(), expected.view(), labels);
                ASSERT_TRUE(contract(gpu, a.view(), b.view(), out.view(), labels));
                EXPECT_EQ(out.read().bytes, expected.bytes) << name(ta) << name(tb) << s.m << "x" << s.n << "x" << s.k;
                // The second operand is contiguous along n.
                const std::uint8_t kBatchSumColumn[] = {3, 1, 2};
                OnDevice w = random(tb, {s.batch, s.k, s.n}, 7);
                const product::Labels plain{kBatchRowSum, kBatchSumColumn, kBatchRowColumn};
                product::contract(a.host.view(), w.host.view(), expected.view(), plain);
                ASSERT_TRUE(contract(gpu, a.view(), w.view(), out.view(), plain));
                EXPECT_EQ(out.read().bytes, expected.bytes) << name(ta) << name(tb) << s.m << "x" << s.n << "x" << s.k;
                // Neither the operands nor the result are contiguous as the kernel wants them.
                const std::uint8_t sum_row[] = {3, 1, 0}, sum_column[] = {1, 3, 2}, column_row[] = {2, 3, 0};
                OnDevice x = random(ta, {s.batch, s.k, s.m}, 4), y = random(tb, {s.k, s.batch, s.n}, 5),
                         z = random(DType::int32, {s.n, s.batch, s.m}, 6);
                Array transposed(DType::int32, {s.n, s.batch, s.m});
                const product::Labels across{sum_row, sum_column, column_row};
                product::contract(x.host.view(), y.host.view(), transposed.view(), across);
                ASSERT_TRUE(contract(gpu, x.view(), y.view(), z.view(), across));
                EXPECT_EQ(z.read().bytes, transposed.bytes) << name(ta) << name(tb) << s.m << "x" << s.n << "x" << s.k;
            }
}

/// int32 sums times a scale for each row and each column, rounded to bfloat16.
TEST_F(ProductTapeGpuTest, ScalesOfBytesAreInTheSameKernel) {
    Gpu& gpu = Gpu::at(0);
    if (gpu.major() != 9) GTEST_SKIP() << "compute capability 9.0";
    constexpr DType kF = DType::float32;
    const tape::Tape tape{{DType::int32, kF, kF},
                          {{tape::Opcode::cast, DType::int32, kF, {0}},
                           {tape::Opcode::multiply, kF, kF, {3, 1}},
                           {tape::Opcode::multiply, kF, kF, {4, 2}},
                           {tape::Opcode::cast, kF, DType::bfloat16, {5}}},
                          {6}};
    for (const Sizes& s : {Sizes{300, 516, 1000, 1}, {9, 528, 992, 1}}) {
        OnDevice a = random(DType::uint8, {s.m, 1008}, 1), b = random(DType::int8, {s.n, 1008}, 2),
                 rows = random(kF, {s.m, 1}, 3), columns = random(kF, {s.n}, 4),
                 sums = random(DType::int32, {s.m, s.n}, 5), out = random(DType::bfloat16, {s.m, s.n}, 6),
                 fused = random(DType::bfloat16, {s.m, s.n}, 7);
        View x = a.view(), w = b.view();
        x.layout.shape[1] = w.layout.shape[1] = s.k;
        const product::Labels labels{kRowSum, kColumnSum, kRowColumn};
        const std::vector<View> more{broadcast(rows.view(), {s.m, s.n}), broadcast(columns.view(), {s.m, s.n})};
        ASSERT_TRUE(contract(gpu, x, w, sums.view(), labels));
        const std::vector<View> in{sums.view(), more[0], more[1]};
        const View y = out.view(), o = fused.view();
        run(gpu, tape, in, {&y, 1});
        ASSERT_TRUE(run(gpu, ProductTape{x, w, o, labels, DType::int32, tape, more}));
        EXPECT_EQ(fused.read().bytes, out.read().bytes);
    }
}

}  // namespace
}  // namespace tenon::cuda
