#include "schedule/branches.h"

#include <algorithm>

namespace tenon::schedule {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};

bool touch(const std::vector<Bytes>& a, const std::vector<Bytes>& b) {
    return std::any_of(a.begin(), a.end(), [&](const Bytes& x) {
        return std::any_of(b.begin(), b.end(), [&](const Bytes& y) { return x.begin < y.end && y.begin < x.end; });
    });
}

bool is_ordered(const AccessSet& first, const AccessSet& then) {
    return touch(first.writes, then.reads) || touch(first.writes, then.writes) || touch(first.reads, then.writes);
}

/// For each task the earlier ones that it depends on.
std::vector<std::vector<std::uint32_t>> order_of(std::span<const AccessSet> tasks) {
    std::vector<std::vector<std::uint32_t>> before(tasks.size());
    for (std::uint32_t j = 0; j < tasks.size(); ++j)
        for (std::uint32_t i = 0; i < j; ++i)
            if (is_ordered(tasks[i], tasks[j])) before[j].push_back(i);
    return before;
}

/// For each task the next one on the longest path from it.
std::vector<std::uint32_t> heirs_of(std::span<const AccessSet> tasks,
                                    const std::vector<std::vector<std::uint32_t>>& before) {
    std::vector<double> way(tasks.size());  // what comes after
    std::vector<std::uint32_t> heirs(tasks.size(), kNone);
    for (auto j = static_cast<std::uint32_t>(tasks.size()); j-- > 0;)
        for (const std::uint32_t i : before[j]) {
            const double through = way[j] + tasks[j].seconds;
            if (heirs[i] == kNone || through >= way[i]) heirs[i] = j, way[i] = through;
        }
    return heirs;
}

}  // namespace

BranchPlan plan_branches(std::span<const AccessSet> tasks, std::size_t most) {
    const auto before = order_of(tasks);
    const std::vector<std::uint32_t> heirs = heirs_of(tasks, before);
    BranchPlan plan{std::vector<std::uint32_t>(tasks.size()), std::vector<std::vector<std::uint32_t>>(tasks.size())};
    std::vector<double> end(tasks.size()), free(most);
    std::vector<std::uint32_t> last(most, kNone);
    // For each task, and for each branch so far, how many tasks (by number) of each branch come before it.
    std::vector<std::vector<std::uint32_t>> done(tasks.size()), now(most, std::vector<std::uint32_t>(most));
    for (std::uint32_t j = 0; j < tasks.size(); ++j) {
        double ready = 0;
        std::uint32_t from = kNone;
        for (const std::uint32_t i : before[j]) {
            ready = std::max(ready, end[i]);
            if (heirs[i] == j && last[plan.branch[i]] == i && (from == kNone || end[i] > end[from])) from = i;
        }
        std::uint32_t at = 0;
        if (!tasks[j].fixed && most > 1) {
            const auto start = [&](std::uint32_t b) { return std::max(free[b], ready); };
            at = 1;
            for (std::uint32_t b = 2; b < most; ++b)
                if (start(b) < start(at)) at = b;
            if (from != kNone) at = plan.branch[from];
        }
        std::vector<std::uint32_t> latest(most, kNone);
        for (const std::uint32_t i : before[j]) latest[plan.branch[i]] = i;
        for (std::uint32_t b = 0; b < most; ++b) {
            if (b == at || latest[b] == kNone || latest[b] < now[at][b]) continue;
            plan.after[j].push_back(latest[b]);
            for (std::uint32_t c = 0; c < most; ++c) now[at][c] = std::max(now[at][c], done[latest[b]][c]);
        }
        now[at][at] = j + 1;
        done[j] = now[at];
        plan.branch[j] = at, last[at] = j;
        end[j] = free[at] = std::max(free[at], ready) + tasks[j].seconds;
    }
    return plan;
}

}  // namespace tenon::schedule
