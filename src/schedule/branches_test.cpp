#include "schedule/branches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace tenon::schedule {
namespace {

bool touch(const std::vector<Bytes>& a, const std::vector<Bytes>& b) {
    for (const Bytes& x : a)
        for (const Bytes& y : b)
            if (std::max(x.begin, y.begin) < std::min(x.end, y.end)) return true;
    return false;
}

/// Whether each task comes before another, by the plan.
std::vector<std::vector<bool>> order_of(const BranchPlan& plan) {
    const std::size_t n = plan.branch.size();
    std::vector<std::vector<bool>> before(n, std::vector<bool>(n));
    for (std::size_t j = 0; j < n; ++j) {
        std::vector<std::size_t> direct(plan.after[j].begin(), plan.after[j].end());
        for (std::size_t i = 0; i < j; ++i)
            if (plan.branch[i] == plan.branch[j]) direct.push_back(i);
        for (const std::size_t i : direct) {
            EXPECT_LT(i, j);
            before[j][i] = true;
            for (std::size_t k = 0; k < i; ++k)
                if (before[i][k]) before[j][k] = true;
        }
    }
    return before;
}

TEST(Branches, WhatTouchesTheSameBytesIsOrdered) {
    std::mt19937 random(7);
    const auto below = [&](unsigned n) { return static_cast<std::uintptr_t>(random() % n); };
    for (int round = 0; round < 200; ++round) {
        std::vector<AccessSet> tasks(1 + below(40));
        for (AccessSet& t : tasks) {
            for (auto* list : {&t.reads, &t.writes})
                for (std::uintptr_t i = below(4); i > 0; --i) {
                    const std::uintptr_t begin = below(200);
                    list->push_back({begin, begin + below(10)});
                }
            t.seconds = static_cast<double>(1 + below(20)), t.fixed = below(4) == 0;
        }
        for (const std::size_t most : {1, 2, 3, 5}) {
            const BranchPlan plan = plan_branches(tasks, most);
            const auto before = order_of(plan);
            for (std::size_t j = 0; j < tasks.size(); ++j) {
                EXPECT_LT(plan.branch[j], most);
                EXPECT_TRUE(!tasks[j].fixed || plan.branch[j] == 0);
                for (std::size_t i = 0; i < j; ++i) {
                    const AccessSet &a = tasks[i], &b = tasks[j];
                    const bool ordered =
                        touch(a.writes, b.reads) || touch(a.writes, b.writes) || touch(a.reads, b.writes);
                    EXPECT_TRUE(!ordered || before[j][i]) << i << " before " << j;
                }
            }
        }
    }
}

AccessSet task(std::vector<Bytes> reads, std::vector<Bytes> writes, bool fixed = false) {
    return {std::move(reads), std::move(writes), 1, fixed};
}

TEST(Branches, WhatNobodyWaitsForRunsBeside) {
    // A chain of three, and what is made of each of its results alone.
    std::vector<AccessSet> tasks{task({}, {{0, 8}}, true), task({{0, 8}}, {{100, 108}}),
                                 task({{0, 8}}, {{8, 16}}, true), task({{8, 16}}, {{108, 116}}),
                                 task({{8, 16}}, {{16, 24}}, true)};
    tasks[4].seconds = 2;
    const BranchPlan plan = plan_branches(tasks, 3);
    EXPECT_EQ(plan.branch[2], 0U);
    EXPECT_NE(plan.branch[1], 0U);
    EXPECT_EQ(plan.after[1], std::vector<std::uint32_t>{0});
    EXPECT_NE(plan.branch[3], 0U);
    EXPECT_EQ(plan.after[3], std::vector<std::uint32_t>{2});
    EXPECT_TRUE(plan.after[2].empty() && plan.after[4].empty());
}

}  // namespace
}  // namespace tenon::schedule
