#include "cuda/chain/match.h"

#include <gtest/gtest.h>

namespace tenon::cuda {
namespace {

constexpr std::uint8_t kRow = 0, kG = 1, kP = 2, kF = 3, kR = 4, kQ = 5;

View packed(const Shape& s) { return {nullptr, DType::bfloat16, Layout::contiguous(s)}; }

/// A block tensor train of 40 rows, blocks of 64 and rank 2, as a linear map records it; rows are the last axis of the
/// intermediate.
struct Layer {
    std::vector<std::uint8_t> x{kRow, kG, kP}, a{kF, kR, kG, kP}, z{kF, kR, kG, kRow}, b{kF, kQ, kR, kG},
        y{kRow, kF, kQ};
    product::Chain chain;

    Layer() {
        chain.a = packed({40, 64, 64}), chain.b = packed({64, 2, 64, 64});
        chain.first = {x, a, z};
        chain.product = DType::bfloat16;
        chain.c = packed({64, 64, 2, 64});
        chain.second = {z, b, y};
        chain.out = packed({40, 64, 64});
    }
};

TEST(CudaChainMatch, TakesALayer) {
    Layer l;
    const View kept = packed({64, 2, 64, 40});
    l.chain.kept_product = &kept;
    MatchedPass m;
    ASSERT_EQ(match(l.chain, m), nullptr);
    EXPECT_EQ(m.pass.shape.rows, 40);
    EXPECT_EQ(m.pass.shape.block, 64);
    EXPECT_EQ(m.pass.shape.rank, 2);
    EXPECT_EQ(m.pass.first.strides, m.pass.shape.a_strides());
    EXPECT_EQ(m.pass.second.strides, m.pass.shape.b_strides());
    EXPECT_EQ(m.kept, (IntermediateStrides{1, {2 * 64 * 40, 40, 64 * 40, 0}}));
}

TEST(CudaChainMatch, TakesOperandsInEitherOrder) {
    Layer l;
    std::swap(l.chain.a, l.chain.b);
    l.chain.first = {l.a, l.x, l.z};
    l.chain.second = {l.b, l.z, l.y};
    l.chain.z_is_a = false;
    MatchedPass m;
    ASSERT_EQ(match(l.chain, m), nullptr);
    EXPECT_EQ(m.pass.first.strides, m.pass.shape.a_strides());
    EXPECT_EQ(m.pass.second.strides, m.pass.shape.b_strides());
}

TEST(CudaChainMatch, TakesALayerOfUnequalBlocks) {
    Layer l;  // from 4096 columns to 128 groups of 96
    l.chain.b = packed({128, 2, 64, 64});
    l.chain.c = packed({128, 96, 2, 64});
    l.chain.out = packed({40, 128, 96});
    MatchedPass m;
    ASSERT_EQ(match(l.chain, m), nullptr);
    EXPECT_EQ(m.pass.shape, (ChainShape{40, 0, 2, {64, 64, 128, 96}}));
    EXPECT_STREQ(declines(m.pass), "the layer's blocks are not equal, and the rows not few");
    m.pass.shape.rows = 3;
    EXPECT_EQ(declines(m.pass), nullptr);
}

TEST(CudaChainMatch, TakesOneRow) {
    // An axis of one element has no label in a chain.
    Layer l;
    l.chain.a = l.chain.out = packed({64, 64});
    l.chain.first = {std::span(l.x).subspan(1), l.a, std::span(l.z).first(3)};
    l.chain.second = {std::span(l.z).first(3), l.b, std::span(l.y).subspan(1)};
    MatchedPass m;
    ASSERT_EQ(match(l.chain, m), nullptr);
    EXPECT_EQ(m.pass.shape, (ChainShape{1, 64, 2}));
    EXPECT_EQ(m.pass.first.strides, m.pass.shape.a_strides());
    EXPECT_EQ(m.pass.second.strides, m.pass.shape.b_strides());
}

TEST(CudaChainMatch, TakesTheGradientOfTheInput) {
    Layer l;
    product::Chain back = l.chain;
    back.a = l.chain.out, back.b = l.chain.c, back.c = l.chain.b, back.out = l.chain.a;
    back.first = {l.y, l.b, l.z};
    back.second = {l.z, l.a, l.x};
    MatchedPass m;
    ASSERT_EQ(match(back, m), nullptr);
    EXPECT_EQ(m.pass.first.strides, m.pass.shape.b_strides());
    EXPECT_EQ(m.pass.second.strides, m.pass.shape.a_strides());
}

TEST(CudaChainMatch, TakesTheGradientsOfTheCores) {
    Layer l;
    const View z = packed({64, 2, 64, 40});
    const ChainShape s{40, 64, 2};
    const IntermediateStrides forward{1, {2 * 64 * 40, 40, 64 * 40, 0}}, backward{1, {40, 2 * 64 * 40, 64 * 40, 0}};
    CoreGradient g;
    ASSERT_TRUE(match(z, l.chain.out, l.chain.c, {l.z, l.y, l.b}, true, s, forward, g));
    EXPECT_EQ(g.strides, s.b_strides());
    ASSERT_TRUE(match(l.chain.a, z, l.chain.b, {l.x, l.z, l.a}, false, s, backward, g));
    EXPECT_EQ(g.strides, s.a_strides());
    EXPECT_FALSE(
        match(l.chain.a, z, l.chain.b, {l.x, l.z, l.a}, false, s, forward, g));  // The groups are the other core's.
}

TEST(CudaChainMatch, RefusesOthers) {
    MatchedPass m;
    Layer l;
    l.chain.a.layout.strides[0] += 64;
    EXPECT_STREQ(match(l.chain, m), "the layer's input or output has gaps");
    l = {};
    l.chain.out.dtype = DType::float32;
    EXPECT_NE(match(l.chain, m), nullptr);
    l = {};
    l.chain.finish.alpha = 2;
    EXPECT_NE(match(l.chain, m), nullptr);
    Layer low;  // a product of low rank: x (n, p), a (p, r), b (r, q)
    low.x = {kRow, kP}, low.a = {kP, kR}, low.z = {kRow, kR}, low.b = {kR, kQ}, low.y = {kRow, kQ};
    low.chain.a = packed({40, 64}), low.chain.b = packed({64, 16}), low.chain.c = packed({16, 64}),
    low.chain.out = packed({40, 64});
    low.chain.first = {low.x, low.a, low.z}, low.chain.second = {low.z, low.b, low.y};
    EXPECT_STREQ(match(low.chain, m), "the pair is no two-factor layer");
}

}  // namespace
}  // namespace tenon::cuda
