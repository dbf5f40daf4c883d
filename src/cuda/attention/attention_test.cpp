// Attention's device code compiles, for every dtype, where there is no GPU.
#include <gtest/gtest.h>

#include "cuda/compiler.h"
#include "cuda/driver.h"
#include "cuda/print_tape.h"

namespace tenon::cuda {
namespace {

TEST(CudaAttention, EveryKernelCompiles) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    for (const DType t : {DType::bfloat16, DType::float16, DType::float32, DType::float64})
        EXPECT_NO_THROW(
            compile(unit("cuda/attention/attention.cu", {"-DTENON_TYPE=" + type_name(t).substr(sizeof "DType::" - 1)}),
                    "sm_90a"))
            << name(t);
}

}  // namespace
}  // namespace tenon::cuda
