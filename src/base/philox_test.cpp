// Philox4x32-10: the published known answers, every sub-range of a stream, every instruction set, every thread count.
#include "base/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "base/cpu.h"
#include "base/philox_isa.h"
#include "tenon/threads.h"

namespace tenon {
namespace {

using Words = std::vector<std::uint32_t>;

Words fill(std::uint64_t key, std::uint64_t domain, std::uint64_t first, std::size_t count) {
    Words out(count);
    philox_fill(key, domain, first, out);
    return out;
}

// The algorithm from the paper, as plainly as it can be written.
std::array<std::uint32_t, 4> reference(std::uint64_t key, std::uint64_t domain, std::uint64_t block) {
    std::array<std::uint32_t, 4> c = {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                                      static_cast<std::uint32_t>(domain), static_cast<std::uint32_t>(domain >> 32)};
    std::uint32_t k[2] = {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
        c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(p1),
             static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(p0)};
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    return c;
}

Words reference_words(std::uint64_t key, std::uint64_t domain, std::uint64_t first, std::size_t count) {
    Words out;
    for (std::uint64_t i = first; i < first + count; ++i) out.push_back(reference(key, domain, i / 4)[i % 4]);
    return out;
}

class EveryIsa : public ::testing::TestWithParam<Isa> {
  protected:
    void SetUp() override {
        before_ = isa();
        force_isa(GetParam());
    }
    void TearDown() override { force_isa(before_); }
    Isa before_ = Isa::baseline;
};

// Random123's vectors: counter and key all zeros, all ones, and the digits of pi.
TEST(Philox, KnownAnswers) {
    EXPECT_EQ(fill(0, 0, 0, 4), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    Words out(4);
    baseline::philox_blocks(~0ull, ~0ull, ~0ull, 1, out.data());
    EXPECT_EQ(out, (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    baseline::philox_blocks(0x299f31d0a4093822ull, 0x0370734413198a2eull, 0x85a308d3243f6a88ull, 1, out.data());
    EXPECT_EQ(out, (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST_P(EveryIsa, EverySubRangeIsThatOfTheStream) {
    const std::uint64_t key = 0x123456789abcdef0, domain = 0xfedcba9876543210;
    for (const std::uint64_t base :
         {0ull, 1ull << 34, (1ull << 34) - 20, ~0ull - 200}) {  // the block's high word changes
        const Words stream = reference_words(key, domain, base, 140);
        for (std::size_t first = 0; first < 9; ++first)
            for (std::size_t count = 0; count < 130; ++count)
                ASSERT_EQ(fill(key, domain, base + first, count), Words(&stream[first], &stream[first] + count));
    }
}

TEST_P(EveryIsa, LargeFillsAreTheSameForEveryThreadCount) {
    const std::size_t count = 300'001;
    const Words expected = reference_words(7, 3, 5, count);
    for (const int threads : {1, 2, 3, 8}) {
        set_num_threads(threads);
        EXPECT_EQ(fill(7, 3, 5, count), expected) << threads;
    }
    set_num_threads(0);
}

INSTANTIATE_TEST_SUITE_P(Philox, EveryIsa, ::testing::ValuesIn([] {
                             std::vector<Isa> isas;
                             for (const Isa i : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon})
                                 if (supported(i)) isas.push_back(i);
                             return isas;
                         }()),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST(Philox, DerivedKeysDiffer) {
    std::set<std::uint64_t> keys;
    for (std::uint64_t key = 0; key < 10; ++key)
        for (std::uint64_t domain = 0; domain < 10; ++domain)
            for (std::uint64_t index = 0; index < 100; ++index) keys.insert(philox_derive(key, domain, index));
    EXPECT_EQ(keys.size(), 10'000u);
    EXPECT_EQ(philox_derive(0, 0, 0), 0xe169c58d6627e8d5ull);
    const auto block = reference(1, 2, 1ull << 40);
    EXPECT_EQ(philox_derive(1, 2, 1ull << 40), (static_cast<std::uint64_t>(block[1]) << 32) | block[0]);
}

// Each bit position is set half of the time: 100,000 words, within 5 standard deviations.
TEST(Philox, BitsAreBalanced) {
    const Words words = fill(42, 0, 0, 100'000);
    for (int bit = 0; bit < 32; ++bit) {
        const auto ones = std::count_if(words.begin(), words.end(), [&](std::uint32_t w) { return (w >> bit) & 1; });
        EXPECT_NEAR(static_cast<double>(ones), 50'000, 800) << bit;
    }
}

}  // namespace
}  // namespace tenon
