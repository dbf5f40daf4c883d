// Which chains run in one pass, what they cost, and why others decline.
#include <gtest/gtest.h>

#include <string>

#include "base/caches.h"
#include "base/storage.h"
#include "product/chain/chain.h"
#include "product/chain/lanes.h"
#include "product/chain/testing.h"
#include "product/dense/blocked.h"
#include "product/product_testing.h"

namespace tenon::product {
namespace {

using testing::describe;
using testing::Operands;
using testing::Pair;
using testing::Setting;
using testing::settings;
using testing::structure;
using testing::Theta;
using testing::WithSetting;

TEST(ChainChoice, TheCostCountsOperationsAndTheIntermediate) {
    const WithSetting with(settings().back(), 1);
    const Pair pair = structure({64, 1, 64, 1, 64, 64, 2}, 128);
    Operands operands(pair);
    const ChainCost c = cost(operands.chain());
    EXPECT_EQ(c.operations, 2.0 * 128 * 2 * 2 * 64 * 64 * 64);
    EXPECT_EQ(c.bytes, 4.0 * (2 * 128 * 4096 + 2 * 2 * 64 * 64 * 64));
    EXPECT_EQ(c.intermediate_bytes, 2 * 4.0 * 128 * 2 * 4096);
    EXPECT_EQ(declines(operands.chain()), nullptr);
}

TEST(ChainChoice, DeclinesSayWhy) {
    Pair pair;
    pair.first = "tk,hk->th", pair.second = "th,oh->to";
    pair.extents = {{'t', 40}, {'k', 300}, {'h', 200}, {'o', 50}};
    const WithSetting with(settings().back(), 2);  // what is too few depends on the threads
    const auto why = [](const Pair& p) {
        Operands operands(p);
        const char* reason = declines(operands.chain());
        return std::string(reason ? reason : "");
    };
    EXPECT_NE(why(pair).find("stays in cache"), std::string::npos) << why(pair);
    EXPECT_NE(why(structure({64, 1, 64, 1, 64, 64, 1}, 4)).find("too few rows"), std::string::npos);
    EXPECT_NE(why(structure({128, 1, 86, 1, 128, 86, 2}, 130)).find("do not stay in cache"), std::string::npos);
    EXPECT_EQ(why(structure({2, 1, 2, 1, 2, 2, 1}, 4)), "it is tiny");
    EXPECT_EQ(why(structure({64, 1, 64, 1, 64, 64, 1}, 128)), "");
    EXPECT_EQ(why(structure({32, 32, 1, 32, 32, 1, 1}, 128)), "");
}

TEST(ChainChoice, DeclinesTellsWhetherItRunsInOnePass) {
    for (const Theta& theta :
         {Theta{32, 1, 32, 1, 32, 32, 1}, Theta{32, 1, 32, 1, 32, 32, 2}, Theta{32, 32, 1, 32, 32, 1, 1}})
        for (const std::int64_t rows : {8, 64, 128, 300})
            for (const DType dtype : {DType::float32, DType::bfloat16}) {
                Pair pair = structure(theta, rows);
                pair.dtype = dtype;
                Operands operands(pair);
                for (const Setting& s : settings())
                    for (const int threads : {1, 2, 4}) {
                        const WithSetting with(s, threads);
                        const bool apart = std::string(form_of(operands.chain())) == "one product after the other";
                        EXPECT_EQ(declines(operands.chain()) != nullptr, apart)
                            << describe(pair) << ", threads " << threads;
                    }
            }
}

/// Of 56 KiB: rank 2 of 4,096 columns, of which several threads with a small L2 need many rows.
TEST(ChainChoice, WidePanelsAreForOneThreadAndAFastL2) {
    Operands operands(structure({64, 1, 64, 1, 64, 64, 2}, 128));
    for (const int threads : {1, 2}) {
        const Setting s = settings().back();
        const WithSetting with(s, threads);
        const bool wide = s.isa == Isa::avx512 && threads == 1 && !caches().large_l2() && caches().l1 >= 48 << 10;
        EXPECT_EQ(std::string(form_of(operands.chain())) == "panels", wide) << threads;
        EXPECT_EQ(declines(operands.chain()) == nullptr, threads == 1 || caches().large_l2()) << threads;
    }
}

/// In float64 weights of 4,096 columns are read from the last level: by one thread. Rank 2 is too much for lanes.
TEST(ChainChoice, Float64RunsInPanelsBesideASmallL2) {
    Pair near = structure({32, 1, 32, 1, 32, 32, 1}, 512), far = structure({64, 1, 64, 1, 64, 64, 1}, 512),
         rank2 = structure({64, 1, 64, 1, 64, 64, 2}, 2048);
    for (Pair* pair : {&near, &far, &rank2}) pair->dtype = pair->out = DType::float64;
    const auto form = [](const Pair& pair) { return std::string(form_of(Operands(pair).chain())); };
    for (const int threads : {1, 2}) {
        const Setting s = settings().back();
        const WithSetting with(s, threads);
        const bool panels = s.isa == Isa::avx512 && !caches().large_l2();
        EXPECT_EQ(form(near), panels ? "panels" : "lanes") << threads;
        EXPECT_EQ(form(far), panels && threads == 1 ? "panels" : "lanes") << threads;
        if (!panels || caches().l1 < 48 << 10) continue;
        EXPECT_EQ(form(rank2), threads == 1 ? "panels" : "one product after the other");
    }
}

/// 7.6 MB of weights in bfloat16: few rows pay where a graph that comes back has them packed once.
TEST(ChainChoice, WeightsThatArePackedOnceNeedFewRows) {
    const WithSetting with(settings().back(), 1);
    Pair pair = structure({128, 1, 86, 1, 128, 86, 2}, 24);
    pair.dtype = DType::bfloat16;
    Operands operands(pair);
    Chain chain = operands.chain();
    EXPECT_STREQ(form_of(chain), "one product after the other");
    const auto owner = Storage::allocate(64);
    chain.b.owner = chain.c.owner = owner.get();
    const bool panels = dense::multiplies_pairs() && !caches().large_l2() && caches().l1 >= 48 << 10;
    EXPECT_EQ(std::string(form_of(chain)) == "panels", panels);
}

// One that is kept is written from cache, unless it stays there beside the operands.
TEST(ChainChoice, AKeptIntermediateRunsInOnePassIfItLeavesTheCache) {
    const WithSetting with(settings().back(), 1);
    for (const std::int64_t rows : {48, 64, 256, 512, 1024, 4096}) {
        Operands operands(structure({32, 1, 32, 1, 32, 32, 1}, rows));
        Chain chain = operands.chain();
        testing::Array kept(DType::float32, intermediate_shape(chain));
        const View view = kept.view();
        chain.kept_product = &view;
        // With a small L2, products apart are faster for some weight and not many rows.
        const bool apart = !caches().large_l2() && rows < 1024, stays = rows * 1024 * 4 <= chain::small_bytes(true);
        EXPECT_STREQ(declines(chain), apart   ? "too few rows to pay for packing the weights"
                                      : stays ? "the intermediate stays in cache as it is"
                                              : nullptr)
            << rows;
    }
}

}  // namespace
}  // namespace tenon::product
