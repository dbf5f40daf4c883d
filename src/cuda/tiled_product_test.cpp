// The kernel compiles, and takes what it should. No GPU is needed.
#include "cuda/tiled_product.h"

#include <gtest/gtest.h>

#include "cuda/driver.h"

namespace tenon::cuda {
namespace {

alignas(16) std::byte somewhere[16];

TiledProduct product_of(DType a, DType b, DType out) {
    return {a, b, out, 256, 512, 1024, 1, somewhere, somewhere, somewhere, 1024, 1024, 512, 0, 0, 0};
}

tape::Tape bias_and_tanh(DType product) {
    return {{product, product},
            {{tape::Opcode::add, product, product, {0, 1}}, {tape::Opcode::tanh, product, product, {2}}},
            {3}};
}

tape::Tape scaled() {
    return {{DType::int32, DType::float32},
            {{tape::Opcode::cast, DType::int32, DType::float32, {0}},
             {tape::Opcode::multiply, DType::float32, DType::float32, {2, 1}},
             {tape::Opcode::cast, DType::float32, DType::bfloat16, {3}}},
            {4}};
}

TEST(TiledProduct, Compiles) {
    if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
    for (const int m : {16, 17})
        for (const DType a : {DType::int8, DType::uint8}) {
            const bool across = a == DType::uint8;
            TiledProduct p = product_of(a, DType::int8, DType::bfloat16);
            const tape::Tape tape = scaled();
            p.m = m, p.b_across = across, p.tape = &tape, p.inputs[0] = {somewhere, DType::float32, 1, 0, 0};
            EXPECT_TRUE(is_few_rows(p));
            EXPECT_NO_THROW(compile(unit_of(p), "sm_90a"));
        }
    for (const std::int64_t n : {64, 512}) {
        for (const DType t : {DType::bfloat16, DType::float16}) {
            TiledProduct p = product_of(t, t, t);
            p.n = n;
            EXPECT_NO_THROW(compile(unit_of(p), "sm_90a"));
            const tape::Tape tape = bias_and_tanh(t);
            p.tape = &tape, p.inputs[0] = {somewhere, t, 0, 1, 0};
            EXPECT_NO_THROW(compile(unit_of(p), "sm_90a"));
        }
        for (const DType a : {DType::int8, DType::uint8}) {
            TiledProduct p = product_of(a, DType::int8, DType::int32);
            p.n = n;
            EXPECT_NO_THROW(compile(unit_of(p), "sm_90a"));
            const tape::Tape tape = scaled();
            p.out = DType::bfloat16, p.tape = &tape, p.inputs[0] = {somewhere, DType::float32, 1, 0, 0};
            EXPECT_NO_THROW(compile(unit_of(p), "sm_90a"));
        }
    }
}

TEST(TiledProduct, DeclinesWithAReason) {
    const auto says = [](const TiledProduct& p, const char* what) {
        EXPECT_NE(declines(p).find(what), std::string::npos) << declines(p);
    };
    EXPECT_EQ(declines(product_of(DType::bfloat16, DType::bfloat16, DType::bfloat16)), "");
    EXPECT_EQ(declines(product_of(DType::uint8, DType::int8, DType::int32)), "");
    says(product_of(DType::float32, DType::float32, DType::float32), "float32");
    says(product_of(DType::bfloat16, DType::float16, DType::float16), "float16");
    TiledProduct p = product_of(DType::int8, DType::int8, DType::int32);
    p.a_row = 1000;
    says(p, "lines that are no multiples");
    p = product_of(DType::int8, DType::int8, DType::int32);
    p.n = 510;
    says(p, "a result that");
    p = product_of(DType::int8, DType::int8, DType::int32);
    p.b_across = true;
    says(p, "side by side");
    p.m = 16;
    EXPECT_EQ(declines(p), "");
    p = product_of(DType::bfloat16, DType::bfloat16, DType::bfloat16);
    const tape::Tape tape = bias_and_tanh(DType::bfloat16);
    p.tape = &tape, p.inputs[0] = {somewhere, DType::bfloat16, 1, 256, 0};
    says(p, "across");
    p.inputs[0] = {somewhere, DType::bfloat16, 512, 1, 0};
    EXPECT_EQ(declines(p), "");
}

}  // namespace
}  // namespace tenon::cuda
