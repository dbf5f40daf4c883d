#include "cuda/chain/chain.h"

#include <gtest/gtest.h>

#include "cuda/driver.h"
#include "cuda/wgmma.h"

namespace tenon::cuda {
namespace {

TEST(CudaChain, EveryKernelCompiles) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    for (const int block : {32, 64, 128})
        for (const int rank : {1, 2, 4}) {
            const ChainShape s{8, block, rank};
            EXPECT_NO_THROW(compile(unpack_unit(s), "sm_90a")) << block << " " << rank;
            for (const DType dtype : {DType::bfloat16, DType::float32})
                EXPECT_NO_THROW(compile(gradient_unit(s, dtype), "sm_90a")) << block << " " << rank;
            for (const bool k_contiguous : {false, true})
                for (const bool keep : {false, true})
                    EXPECT_NO_THROW(compile(pass_unit(s, k_contiguous, keep), "sm_90a")) << block << " " << rank;
        }
}

TEST(CudaChain, KeptTilesAreWhole) {
    EXPECT_EQ(kept_bytes({0, 64, 1}), 0);
    EXPECT_EQ(kept_bytes({8, 64, 1}), 128 * 4096 * 2);
    EXPECT_EQ(kept_bytes({128, 32, 4}), 128 * 1024 * 4 * 2);
    EXPECT_EQ(kept_bytes({136, 64, 2}), 256 * 4096 * 2 * 2);
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
