#include "cuda/chain/chain.h"

#include <gtest/gtest.h>

#include "cuda/chain/few_rows.h"
#include "cuda/chain/kronecker.h"
#include "cuda/chain/streamed.h"
#include "cuda/driver.h"
#include "cuda/wgmma.h"

namespace tenon::cuda {
namespace {

/// The gradients of both cores, with strides but without addresses.
std::array<RecomputedGradient, 2> gradients_like(const ChainShape& s) {
    return {{{nullptr, {nullptr, s.a_strides()}, nullptr, nullptr, s.b_strides()},
             {nullptr, {nullptr, s.b_strides()}, nullptr, nullptr, s.a_strides()}}};
}

TEST(CudaChain, EveryKernelCompiles) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    for (const int block : {32, 64, 128})
        for (const int rank : {1, 2, 4}) {
            const ChainShape s{8, block, rank};
            EXPECT_NO_THROW(compile(unpack_unit(s), "sm_90a")) << block << " " << rank;
            if (block == 32) {
                EXPECT_NO_THROW(compile(streamed::pass_unit(s), "sm_90a")) << rank;
            }
            for (const DType dtype : {DType::bfloat16, DType::float32}) {
                if (takes_gradient_beside(s)) {
                    EXPECT_NO_THROW(compile(pass_unit(s, false, false, &dtype), "sm_90a")) << block << " " << rank;
                }
                if (block == 128) {
                    EXPECT_NO_THROW(compile(gradient_unit(s, dtype), "sm_90a")) << rank;
                    continue;
                }
                for (int count = 1; count <= 2; ++count) {
                    if (declines(CoreGradients{s, dtype, gradients_like(s), count})) continue;
                    EXPECT_NO_THROW(compile(gradients_unit(s, dtype, count), "sm_90a")) << block << " " << rank;
                }
            }
            for (const bool k_contiguous : {false, true})
                for (const bool keep : {false, true})
                    EXPECT_NO_THROW(compile(pass_unit(s, k_contiguous, keep), "sm_90a")) << block << " " << rank;
        }
}

TEST(CudaChain, TheKernelOfLayersThatWidenCompiles) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    EXPECT_NO_THROW(compile(pass_unit({1024, 0, 1, {64, 64, 128, 128}}, true, false), "sm_90a"));
}

TEST(CudaChain, TheKernelOfFewRowsCompilesEverywhere) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    for (const auto& [block, rank] : {std::pair(16, 3), {32, 8}, {64, 1}, {64, 9}, {128, 4}, {256, 1}})
        for (const bool k_contiguous : {false, true})
            for (const char* architecture : {"sm_80", "sm_90a"})
                for (const bool staged : {false, true}) {
                    const few_rows::Form form{architecture == std::string("sm_80") ? 1 : 2, staged};
                    EXPECT_NO_THROW(compile(few_rows::pass_unit({1, block, rank}, k_contiguous, form), architecture))
                        << block << " " << rank << " " << staged;
                }
}

TEST(CudaChain, TheKernelsOfKroneckerLayersCompile) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    for (const bool first : {false, true})
        for (const bool transposed : {false, true})
            for (const bool keeps : {false, true}) {
                KroneckerPass p;
                p.sums_first = first, p.y_transposed = transposed, p.keeps = keeps,
                p.kept_transposed = transposed != first;
                EXPECT_NO_THROW(compile(unit_of(p), "sm_90a"));
                SquareGradient g;
                g.left_transposed = first, g.right_transposed = transposed;
                g.dtype = keeps ? DType::float32 : DType::bfloat16;
                EXPECT_NO_THROW(compile(unit_of(g), "sm_90a"));
            }
}

TEST(CudaChain, FewRowsAreThoseThatNothingIsKeptOf) {
    Pass p{{16, 64, 2}, nullptr, {nullptr, {}}, {nullptr, {}}, nullptr};
    p.first.strides = p.shape.a_strides(), p.second.strides = p.shape.b_strides();
    EXPECT_TRUE(few_rows::takes(p));
    std::byte kept;
    p.kept = &kept;
    EXPECT_FALSE(few_rows::takes(p));
    p.kept = nullptr;
    p.shape.rows = 17;
    EXPECT_FALSE(few_rows::takes(p));
    p.shape.rows = 1;
    p.x = reinterpret_cast<const void*>(std::uintptr_t{1026});  // Pairs of elements must be at multiples of 4 bytes.
    EXPECT_FALSE(few_rows::takes(p));
}

TEST(CudaChain, KeptTilesAreWhole) {
    EXPECT_EQ(kept_bytes({0, 64, 1}), 0);
    EXPECT_EQ(kept_bytes({8, 64, 1}), 32 * 4096 * 2);
    EXPECT_EQ(kept_bytes({128, 32, 4}), 128 * 1024 * 4 * 2);
    EXPECT_EQ(kept_bytes({136, 64, 2}), 160 * 4096 * 2 * 2);
    EXPECT_EQ(kept_bytes({136, 128, 2}), 192 * 16384 * 2 * 2);
}

TEST(CudaWgmma, OperandsAreNumberedInTheOrderOfTheConstraints) {
    const std::string r = print_wgmma(8, LeftOperand::registers);
    EXPECT_NE(r.find("setp.ne.b32 p, %9, 0;"), std::string::npos) << r;
    EXPECT_NE(r.find("m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, {%4, %5, %6, %7}, %8, p, 1, 1, %10;"), std::string::npos)
        << r;
    const std::string s = print_wgmma(8, LeftOperand::shared);
    EXPECT_NE(s.find("setp.ne.b32 p, %6, 0;"), std::string::npos) << s;
    EXPECT_NE(s.find("m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, p, 1, 1, %7, %8;"), std::string::npos) << s;
}

}  // namespace
}  // namespace tenon::cuda
