// The kernels of hidden values compile, and take what they should. No GPU is needed.
#include "cuda/chain/hidden.h"

#include <gtest/gtest.h>

#include "cuda/chain/hidden_testing.h"
#include "cuda/driver.h"

namespace tenon::cuda {
namespace {

TEST(Hidden, Compiles) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    const HiddenFunctions f = testing::functions();
    for (const bool keeps_h : {true, false}) EXPECT_NO_THROW(compile(hidden_unit(f, keeps_h), "sm_90a"));
    for (const DType type : {DType::float32, DType::bfloat16})
        EXPECT_NO_THROW(compile(hidden_gradients_unit(f, type), "sm_90a"));
}

TEST(Hidden, DeclinesWithAReason) {
    HiddenFunctions f = testing::functions();
    EXPECT_EQ(hidden_declines(1024, 128, f), "");
    EXPECT_NE(hidden_declines(1000, 128, f).find("multiple"), std::string::npos);
    EXPECT_NE(hidden_declines(1024, 32, f).find("groups"), std::string::npos);
    f.slope = {{DType::bfloat16, DType::bfloat16},
               {{tape::Opcode::multiply, DType::bfloat16, DType::bfloat16, {0, 1, 0}}},
               {2}};
    EXPECT_NE(hidden_declines(1024, 128, f).find("table"), std::string::npos);
}

}  // namespace
}  // namespace tenon::cuda
