// Offsets of random lifetimes: none that meet overlap, and the bound is one.
#include "schedule/arena.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace tenon::schedule {
namespace {

std::int64_t most_alive(const std::vector<Lifetime>& all, std::int64_t steps) {
    std::int64_t most = 0;
    for (std::int64_t t = 0; t < steps; ++t) {
        std::int64_t now = 0;
        for (const Lifetime& l : all)
            if (l.first <= t && t <= l.last) now += (l.bytes + 63) / 64 * 64;
        most = std::max(most, now);
    }
    return most;
}

TEST(Arena, BuffersAliveTogetherDoNotOverlap) {
    std::mt19937_64 r(1);
    double worst = 1;
    for (int round = 0; round < 400; ++round) {
        const std::int64_t steps = 1 + static_cast<std::int64_t>(r() % 60);
        std::vector<Lifetime> all;
        for (std::size_t n = r() % 80; n > 0; --n) {
            const auto first = static_cast<std::int64_t>(r() % steps);
            const auto last = first + static_cast<std::int64_t>(r() % (r() % 4 == 0 ? steps : 4));
            all.push_back({static_cast<std::int64_t>(r() % (r() % 5 == 0 ? 100000 : 3000)), first, last});
        }
        const std::int64_t total = place(all), bound = least_bytes(all);
        EXPECT_EQ(bound, most_alive(all, 2 * steps));
        EXPECT_LE(bound, total);
        if (bound > 0) worst = std::max(worst, static_cast<double>(total) / static_cast<double>(bound));
        for (std::size_t i = 0; i < all.size(); ++i) {
            EXPECT_EQ(all[i].offset % kBufferAlignment, 0);
            EXPECT_LE(all[i].offset + all[i].bytes, total);
            for (std::size_t j = 0; j < i; ++j) {
                const bool together = all[i].first <= all[j].last && all[j].first <= all[i].last;
                const bool apart =
                    all[i].offset + all[i].bytes <= all[j].offset || all[j].offset + all[j].bytes <= all[i].offset;
                EXPECT_TRUE(!together || apart || all[i].bytes == 0 || all[j].bytes == 0);
            }
        }
    }
    EXPECT_LT(worst, 1.5);
}

TEST(Arena, AChainTakesTheRoomOfTwo) {
    std::vector<Lifetime> chain;
    for (std::int64_t i = 0; i < 10; ++i) chain.push_back({1000, i, i + 1});
    std::int64_t at = -1;
    EXPECT_EQ(place(chain), 2 * 1024);
    EXPECT_EQ(least_bytes(chain, &at), 2 * 1024);
    EXPECT_EQ(at, 1);
    EXPECT_EQ(place({}), 0);
}

}  // namespace
}  // namespace tenon::schedule
