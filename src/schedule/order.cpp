#include "schedule/order.h"

#include <algorithm>
#include <queue>
#include <span>
#include <vector>

#include "schedule/arena.h"
#include "schedule/build.h"
#include "schedule/lists.h"

namespace tenon::schedule {
namespace {

/// Below this the orders are not compared: everything stays in cache.
constexpr std::int64_t kCheckedBytes = std::int64_t{1} << 16;

/// The bytes, or the part of the peak, that an order by memory has to save. Such an order depends on which of two sizes
/// is larger, so plans for other extents may differ in more than numbers, and then no plan serves all of them.
constexpr std::int64_t kMuchBytes = std::int64_t{4} << 20, kMuchPart = 8;

constexpr std::uint32_t kNone = ~std::uint32_t{0};

/// Groups as tasks on buffers.
struct Tasks {
    struct Buffer {
        Index base;
        std::uint32_t task;
        std::int64_t bytes;
    };

    /// `of` says of each base its group, `members` the bases of a group, `is_stored` of a base of a group whether it is
    /// written to memory.
    template <class Members, class IsStored>
    Tasks(const Program& p, std::size_t size, std::span<const std::uint32_t> of, const Members& members,
          const IsStored& is_stored)
        : writes(size), reads(size), from(size), readers(0) {
        std::vector<std::uint32_t> buffer_of(p.bases.size(), kNone);
        newest.resize(size);
        for (std::uint32_t at = 0; at < size; ++at) {
            newest[at] = members(at).back();
            for (const Index m : members(at)) {
                if (!p.bases[m].escapes && is_stored(at, m)) {
                    buffer_of[m] = static_cast<std::uint32_t>(buffers.size());
                    writes.add(buffer_of[m]);
                    buffers.push_back({m, at, bytes_of(p, m)});
                }
                for (const Source& s : p.bases[m].operands)
                    if (is_computed(p.bases[s.base].kind) && of[s.base] != at) from.add(of[s.base]);
            }
            writes.end_list(), from.end_set();
        }
        for (std::uint32_t at = 0; at < size; ++at) {
            for (const Index m : members(at))
                for (const Source& s : p.bases[m].operands)
                    if (is_computed(p.bases[s.base].kind) && of[s.base] != at && buffer_of[s.base] != kNone)
                        reads.add(buffer_of[s.base]);
            reads.end_set();
        }
        readers = holders(from, size);
    }

    std::size_t size() const { return newest.size(); }

    std::vector<Buffer> buffers;
    Lists writes, reads;  // buffers, by task
    Lists from, readers;  // tasks, by task
    std::vector<Index> newest;

  private:
    static std::int64_t bytes_of(const Program& p, Index base) {
        const auto bytes =
            static_cast<double>(count(p.bases[base].shape)) * static_cast<double>(size_of(p.dtype(base)));
        return bytes < 0x1p62 ? static_cast<std::int64_t>(bytes) : std::int64_t{1} << 62;
    }
};

Tasks tasks_of(const Program& p, const Groups& g) {
    const std::vector<bool> is_result = results_of(p, g);
    return {p, g.groups.size(), g.of,
            [&](std::uint32_t at) -> const std::vector<Index>& { return g.groups[at].members; },
            [&](std::uint32_t at, Index m) {
                if (!g.groups[at].ready) return bool{is_result[m]};
                const std::vector<Index>& out = g.groups[at].ready->out;
                return std::find(out.begin(), out.end(), m) != out.end();
            }};
}

/// Each base by itself.
Tasks tasks_of(const Program& p) {
    std::vector<Index> all;
    std::vector<std::uint32_t> of(p.bases.size());
    for (Index i = 0; i < p.bases.size(); ++i) {
        if (!p.bases[i].needed || !is_computed(p.bases[i].kind)) continue;
        of[i] = static_cast<std::uint32_t>(all.size());
        all.push_back(i);
    }
    return {p, all.size(), of, [&](std::uint32_t at) { return std::span<const Index>(&all[at], 1); },
            [](std::uint32_t, Index) { return true; }};
}

/// Without some of the tasks where these wait for each other.
std::vector<std::uint32_t> as_recorded(const Tasks& tasks) {
    std::vector<std::size_t> waits(tasks.size());
    const auto later = [&](std::uint32_t a, std::uint32_t b) { return tasks.newest[a] > tasks.newest[b]; };
    std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, decltype(later)> ready(later);
    for (std::uint32_t at = 0; at < tasks.size(); ++at)
        if ((waits[at] = tasks.from[at].size()) == 0) ready.push(at);
    std::vector<std::uint32_t> order;
    while (!ready.empty()) {
        const std::uint32_t at = ready.top();
        ready.pop();
        order.push_back(at);
        for (const std::uint32_t r : tasks.readers[at])
            if (--waits[r] == 0) ready.push(r);
    }
    return order;
}

/// The order in which the task that adds least to the bytes alive runs next. A task's figure falls when it becomes the
/// last reader of something: it is then queued again, and its older entry is skipped.
std::vector<std::uint32_t> by_memory(const Tasks& tasks) {
    std::vector<std::size_t> waits(tasks.size()), left(tasks.buffers.size());
    std::vector<std::int64_t> adds(tasks.size());
    std::vector<bool> done(tasks.size());
    const Lists reading = holders(tasks.reads, tasks.buffers.size());
    for (std::size_t b = 0; b < left.size(); ++b) left[b] = reading[b].size();
    for (std::uint32_t at = 0; at < tasks.size(); ++at)
        for (const std::uint32_t b : tasks.writes[at]) adds[at] += tasks.buffers[b].bytes;
    for (std::uint32_t at = 0; at < tasks.size(); ++at)
        for (const std::uint32_t b : tasks.reads[at])
            if (left[b] == 1) adds[at] -= tasks.buffers[b].bytes;
    struct Entry {
        std::int64_t adds;
        std::uint32_t task;
    };
    const auto later = [&](const Entry& a, const Entry& b) {
        return a.adds != b.adds ? a.adds > b.adds : tasks.newest[a.task] > tasks.newest[b.task];
    };
    std::priority_queue<Entry, std::vector<Entry>, decltype(later)> ready(later);
    for (std::uint32_t at = 0; at < tasks.size(); ++at)
        if ((waits[at] = tasks.from[at].size()) == 0) ready.push({adds[at], at});
    std::vector<std::uint32_t> order;
    while (!ready.empty()) {
        const auto [figure, at] = ready.top();
        ready.pop();
        if (done[at] || figure != adds[at]) continue;
        done[at] = true;
        order.push_back(at);
        for (const std::uint32_t b : tasks.reads[at]) {
            if (--left[b] != 1) continue;
            for (const std::uint32_t r : reading[b]) {
                if (done[r]) continue;
                adds[r] -= tasks.buffers[b].bytes;
                if (waits[r] == 0) ready.push({adds[r], r});
            }
        }
        for (const std::uint32_t r : tasks.readers[at])
            if (--waits[r] == 0) ready.push({adds[r], r});
    }
    return order;
}

std::vector<Lifetime> lives_in(const Tasks& tasks, const std::vector<std::uint32_t>& order) {
    std::vector<Lifetime> lives;
    for (const Tasks::Buffer& b : tasks.buffers) lives.push_back({b.bytes, 0, 0});
    for (std::size_t t = 0; t < order.size(); ++t) {
        const auto at = static_cast<std::int64_t>(t);
        for (const std::uint32_t b : tasks.writes[order[t]]) lives[b].first = lives[b].last = at;
        for (const std::uint32_t b : tasks.reads[order[t]]) lives[b].last = at;
    }
    return lives;
}

Order with_peak(const Tasks& tasks, std::vector<std::uint32_t> groups, bool by_memory) {
    Order o{std::move(groups), 0, 0, by_memory};
    o.peak = least_bytes(lives_in(tasks, o.groups), &o.step);
    return o;
}

std::optional<Order> order_of(const Tasks& tasks) {
    std::vector<std::uint32_t> first = as_recorded(tasks);
    if (first.size() != tasks.size()) return {};
    Order recorded = with_peak(tasks, std::move(first), false);
    if (recorded.peak < kCheckedBytes) return recorded;
    Order other = with_peak(tasks, by_memory(tasks), true);
    const std::int64_t saved = recorded.peak - other.peak;
    return saved >= kMuchBytes || (saved > 0 && saved >= recorded.peak / kMuchPart) ? other : recorded;
}

}  // namespace

std::optional<Order> order_of(const Program& p, const Groups& g) { return order_of(tasks_of(p, g)); }

std::int64_t peak_without_fusion(const Program& p) { return order_of(tasks_of(p))->peak; }

std::vector<std::uint32_t> alive_at_peak(const Program& p, const Groups& g, const Order& order) {
    const Tasks tasks = tasks_of(p, g);
    const std::vector<Lifetime> lives = lives_in(tasks, order.groups);
    std::vector<std::uint32_t> alive, all;
    for (std::uint32_t b = 0; b < lives.size(); ++b)
        if (lives[b].first <= order.step && order.step <= lives[b].last) alive.push_back(b);
    std::stable_sort(alive.begin(), alive.end(), [&](auto a, auto b) { return lives[a].bytes > lives[b].bytes; });
    const auto add = [&](std::uint32_t group) {
        if (std::find(all.begin(), all.end(), group) == all.end()) all.push_back(group);
    };
    for (const std::uint32_t b : alive) {
        add(tasks.buffers[b].task);
        add(order.groups[static_cast<std::size_t>(lives[b].last)]);
    }
    return all;
}

}  // namespace tenon::schedule
