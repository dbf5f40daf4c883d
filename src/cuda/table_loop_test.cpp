// Tables hold what they should, and the kernel compiles. No GPU is needed.
#include "cuda/table_loop.h"

#include <gtest/gtest.h>

#include "cuda/compiler.h"
#include "cuda/driver.h"

namespace tenon::cuda {
namespace {

using tape::Opcode;
constexpr DType kHalf = DType::bfloat16, kFull = DType::float32;

/// g y erf(s y) as bfloat16, with y = x + bias. The inputs are x, bias, the scalar s, and g.
tape::Tape gated() {
    return {{kHalf, kHalf, kFull, kHalf},
            {{Opcode::add, kHalf, kHalf, {0, 1}},
             {Opcode::cast, kHalf, kFull, {4}},
             {Opcode::multiply, kFull, kFull, {5, 2}},
             {Opcode::erf, kFull, kFull, {6}},
             {Opcode::multiply, kFull, kFull, {5, 7}},
             {Opcode::cast, kHalf, kFull, {3}},
             {Opcode::multiply, kFull, kFull, {8, 9}},
             {Opcode::cast, kFull, kHalf, {10}}},
            {11}};
}

TEST(TableLoop, WhatOneValueDecidesIsLookedUp) {
    const auto plan = table_of(gated(), {false, false, true, false});
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->at, 4u) << "the sum with the bias";
    EXPECT_EQ(plan->found, std::vector<std::size_t>{8});
    EXPECT_EQ(plan->scalars, std::vector<std::size_t>{2});
    EXPECT_EQ(plan->table.inputs.size(), 2u);
    EXPECT_EQ(plan->table.code.size(), 4u);
    EXPECT_EQ(plan->computed,
              (std::vector<bool>{false, false, false, false, true, false, false, false, false, true, true, true}));
}

TEST(TableLoop, NothingIsLookedUpWhereTwoValuesDecideOrLittleIsSaved) {
    EXPECT_FALSE(table_of(gated(), {false, false, false, false})) << "the factor differs from element to element";
    const tape::Tape cheap{{kHalf, kHalf}, {{Opcode::add, kHalf, kHalf, {0, 1}}}, {2}};
    EXPECT_FALSE(table_of(cheap, {false, true}));
    EXPECT_FALSE(has_table(cheap, {false, true}));
    const tape::Tape wide{{kFull}, {{Opcode::erf, kFull, kFull, {0}}}, {1}};
    EXPECT_FALSE(has_table(wide, {false})) << "float32 has too many values";
}

TEST(TableLoop, Compiles) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    for (const char* architecture : {"sm_80", "sm_90a", "sm_100"})
        EXPECT_NO_THROW(
            compile({"table_loop.cu", print_table_loop(gated(), {false, false, true, false})}, architecture));
}

}  // namespace
}  // namespace tenon::cuda
