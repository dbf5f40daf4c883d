// The kernel compiles, and takes what it should. No GPU is needed.
#include "cuda/half_rows.h"

#include <gtest/gtest.h>

#include "cuda/driver.h"

namespace tenon::cuda {
namespace {

alignas(16) std::byte somewhere[16];

/// The product of a row-major matrix and one that is stored as (k, n), or as (n, k).
HalfRows rows_of(std::int64_t m, std::int64_t n, std::int64_t k, bool across = true, DType type = DType::bfloat16) {
    return half_rows_of(type, {m, k, 0, n}, {n, 0, across ? 1 : k, 1}, {k, 1, across ? n : 1, 0}, somewhere, somewhere,
                        somewhere)
        .value();
}

TEST(HalfRows, Compiles) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    for (const std::int64_t m : {8, 9, 17})
        for (const bool across : {false, true})
            EXPECT_NO_THROW(compile(unit_of(rows_of(m, 4096, 4096, across)), "sm_90a"));
    EXPECT_NO_THROW(compile(unit_of(rows_of(16, 4096, 4096, true, DType::float16)), "sm_90a"));
}

TEST(HalfRows, FewRowsInEitherOperand) {
    for (const bool across : {false, true}) {
        const HalfRows p = rows_of(16, 4096, 2048, across);
        EXPECT_EQ(declines(p), "");
        EXPECT_EQ(p.across, across);
        EXPECT_EQ(p.b_line, across ? 4096 : 2048);
        // The same product transposed: there are few columns, and the result is contiguous along its rows' axis.
        const HalfRows t = half_rows_of(DType::bfloat16, {4096, across ? 1 : 2048, 0, 1}, {16, 0, 2048, 4096},
                                        {2048, across ? 4096 : 1, 1, 0}, somewhere, somewhere, somewhere)
                               .value();
        EXPECT_EQ(declines(t), "");
        EXPECT_EQ(t.m, 16);
        EXPECT_EQ(t.across, across);
        EXPECT_EQ(t.b_line, p.b_line);
        EXPECT_EQ(t.c_row, 4096);
    }
}

/// Otherwise the bits would depend on the operands' addresses.
TEST(HalfRows, TakesOperandsWhereverTheyLie) {
    HalfRows p = rows_of(16, 4096, 4096);
    p.a = somewhere + 2, p.b = somewhere + 4, p.c = somewhere + 6;
    p.a_row = p.b_line = p.c_row = 4097;
    EXPECT_EQ(declines(p), "");
}

TEST(HalfRows, DeclinesWithAReason) {
    const auto says = [](const HalfRows& p, const char* what) {
        EXPECT_NE(declines(p).find(what), std::string::npos) << declines(p);
    };
    says(rows_of(16, 4096, 4096, true, DType::float32), "bfloat16");
    says(rows_of(33, 4096, 4096), "rows");
    says(rows_of(16, 4096, 1024), "too little");
    says(rows_of(16, 512, 4096), "too little");
    says(rows_of(16, 4100, 4096), "16 bytes");
    says(rows_of(16, 4098, 4096, false), "fours");
    says(rows_of(16, 4096, 4100), "16 bytes");
    EXPECT_EQ(declines(rows_of(1, 4096, 4100)), "");
    HalfRows p = rows_of(16, 4096, 4096);
    p.a_row = -4096;
    says(p, "the other way");
    // The rows are not contiguous along k.
    EXPECT_FALSE(half_rows_of(DType::bfloat16, {16, 1, 0, 4096}, {4096, 0, 1, 1}, {4096, 16, 4096, 0}, somewhere,
                              somewhere, somewhere));
}

}  // namespace
}  // namespace tenon::cuda
