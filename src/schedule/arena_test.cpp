// Offsets for random lifetimes: buffers alive together do not overlap, and least_bytes is a lower bound.
#include "schedule/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
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

std::vector<Lifetime> random_lives(std::mt19937_64& r, std::int64_t steps) {
    std::vector<Lifetime> all;
    for (std::size_t n = r() % 80; n > 0; --n) {
        const auto first = static_cast<std::int64_t>(r() % static_cast<std::uint64_t>(steps));
        const auto last =
            first + static_cast<std::int64_t>(r() % (r() % 4 == 0 ? static_cast<std::uint64_t>(steps) : 4));
        all.push_back({static_cast<std::int64_t>(r() % (r() % 5 == 0 ? 100000 : 3000)), first, last});
    }
    return all;
}

void expect_apart(const std::vector<Lifetime>& all, std::int64_t total) {
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

TEST(Arena, BuffersAliveTogetherDoNotOverlap) {
    std::mt19937_64 r(1);
    double worst = 1;
    for (int round = 0; round < 400; ++round) {
        const std::int64_t steps = 1 + static_cast<std::int64_t>(r() % 60);
        std::vector<Lifetime> all = random_lives(r, steps);
        const std::int64_t total = place(all), bound = least_bytes(all);
        EXPECT_EQ(bound, most_alive(all, 2 * steps));
        EXPECT_LE(bound, total);
        if (bound > 0) worst = std::max(worst, static_cast<double>(total) / static_cast<double>(bound));
        expect_apart(all, total);
    }
    EXPECT_LT(worst, 1.5);
}

/// The algorithm that place() documents, buffer by buffer.
std::int64_t place_plainly(std::vector<Lifetime>& all) {
    std::vector<Lifetime*> placed, order;
    for (Lifetime& l : all) order.push_back(&l);
    std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->bytes > b->bytes; });
    std::int64_t total = 0;
    for (Lifetime* l : order) {
        const std::int64_t bytes = (l->bytes + 63) / 64 * 64;
        std::int64_t end = 0, best = -1, gap = 0;
        for (const Lifetime* p : placed) {
            if (p->first > l->last || l->first > p->last) continue;
            const std::int64_t room = p->offset - end;
            if (room >= bytes && (best < 0 || room < gap)) best = end, gap = room;
            end = std::max(end, p->offset + (p->bytes + 63) / 64 * 64);
        }
        l->offset = best < 0 ? end : best;
        total = std::max(total, l->offset + bytes);
        const auto by_offset = [](std::int64_t o, const Lifetime* p) { return o < p->offset; };
        placed.insert(std::upper_bound(placed.begin(), placed.end(), l->offset, by_offset), l);
    }
    return total;
}

TEST(Arena, ManyBuffersArePlacedAsFew) {
    std::mt19937_64 r(3);
    for (const std::size_t n : {40u, 999u, 1001u, 3000u})
        for (const int sizes : {3, 5000}) {
            const auto steps = static_cast<std::uint64_t>(n);
            std::vector<Lifetime> all, plain;
            for (std::size_t i = 0; i < n; ++i) {
                const auto first = static_cast<std::int64_t>(r() % steps);
                const auto lives = static_cast<std::int64_t>(r() % (r() % 4 == 0 ? steps : 4));
                all.push_back({1 + 64 * static_cast<std::int64_t>(r() % static_cast<std::uint64_t>(sizes)), first - 2,
                               first - 2 + lives});
            }
            plain = all;
            const std::int64_t total = place(all);
            EXPECT_EQ(total, place_plainly(plain));
            for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(all[i].offset, plain[i].offset) << n << " " << i;
            expect_apart(all, total);
        }
}

TEST(Arena, AnArrangementPlacesBuffersOfOtherSizes) {
    std::mt19937_64 r(2);
    for (int round = 0; round < 400; ++round) {
        std::vector<Lifetime> all = random_lives(r, 1 + static_cast<std::int64_t>(r() % 60));
        const std::int64_t total = place(all);
        const Arrangement arrangement(all);
        std::vector<Lifetime> again = all;
        EXPECT_EQ(arrangement.place(again), total);  // of the same sizes: the same placement
        for (std::size_t i = 0; i < all.size(); ++i)
            EXPECT_TRUE(all[i].bytes == 0 || again[i].offset == all[i].offset) << i;
        for (Lifetime& l : again) l.bytes = (l.bytes + 63) / 64 * 64 * 3;
        EXPECT_EQ(arrangement.place(again), 3 * total);
        expect_apart(again, 3 * total);
        for (Lifetime& l : again) l.bytes = static_cast<std::int64_t>(r() % 5000);
        expect_apart(again, arrangement.place(again));
    }
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
