#include "schedule/order.h"

#include <algorithm>
#include <queue>
#include <stdexcept>

#include "schedule/arena.h"
#include "schedule/build.h"

namespace tenon::schedule {
namespace {

/// Below this the orders are not compared: all stays in cache.
constexpr std::int64_t kCheckedBytes = std::int64_t{1} << 16;

/// What an order that takes less memory has to save, bytes or a part of the peak: it depends on which of two sizes is
/// larger, so that plans for other extents may differ in more than numbers, and none serves all of them.
constexpr std::int64_t kMuchBytes = std::int64_t{4} << 20, kMuchPart = 8;

/// Groups as tasks on buffers.
class Tasks {
  public:
    Tasks(const Program& p, const Groups& g) : size_(g.groups.size()), writes(size_), reads(size_), readers(size_) {
        const std::vector<bool> is_result = results_of(p, g);
        from.resize(size_), newest.resize(size_);
        for (std::uint32_t at = 0; at < size_; ++at) {
            newest[at] = g.groups[at].members.back();
            const std::vector<Index>* stored = g.groups[at].ready ? &g.groups[at].ready->out : nullptr;
            for (const Index m : g.groups[at].members) {
                const bool is_stored =
                    stored ? std::find(stored->begin(), stored->end(), m) != stored->end() : is_result[m];
                if (is_stored && !p.bases[m].escapes) add_buffer(p, at, m);
                for (const Source& s : p.bases[m].operands)
                    if (is_computed(p.bases[s.base].kind) && g.of[s.base] != at) {
                        from[at].push_back(g.of[s.base]);
                        reads[at].push_back(s.base);
                    }
            }
            for (auto* list : {&from[at], &reads[at]}) {
                std::sort(list->begin(), list->end());
                list->erase(std::unique(list->begin(), list->end()), list->end());
            }
            for (const std::uint32_t f : from[at]) readers[f].push_back(at);
        }
        buffer_of.resize(p.bases.size(), kNone);
        for (std::uint32_t b = 0; b < buffers.size(); ++b) buffer_of[buffers[b].base] = b;
        for (auto& list : reads) {
            for (std::uint32_t& base : list) base = buffer_of[base];
            std::erase(list, kNone);
        }
    }

    std::size_t size() const { return size_; }

    struct Buffer {
        Index base;
        std::uint32_t task;
        std::int64_t bytes;
    };

  private:
    static constexpr std::uint32_t kNone = ~std::uint32_t{0};
    void add_buffer(const Program& p, std::uint32_t task, Index base) {
        const auto bytes =
            static_cast<double>(count(p.bases[base].shape)) * static_cast<double>(size_of(p.dtype(base)));
        writes[task].push_back(static_cast<std::uint32_t>(buffers.size()));
        buffers.push_back({base, task, bytes < 0x1p62 ? static_cast<std::int64_t>(bytes) : std::int64_t{1} << 62});
    }
    std::size_t size_;
    std::vector<std::uint32_t> buffer_of;  // by base

  public:
    std::vector<Buffer> buffers;
    std::vector<std::vector<std::uint32_t>> writes, reads;  // buffers, by task
    std::vector<std::vector<std::uint32_t>> readers, from;  // tasks, by task
    std::vector<Index> newest;
};

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
    if (order.size() != tasks.size()) throw std::logic_error("compile: groups in a circle");
    return order;
}

/// Of what may run, what adds least to the bytes alive. A task's own figure falls when it becomes the last to read
/// something: it stands in the queue again then, and older entries are passed over.
std::vector<std::uint32_t> by_memory(const Tasks& tasks) {
    std::vector<std::size_t> waits(tasks.size()), left(tasks.buffers.size());
    std::vector<std::int64_t> adds(tasks.size());
    std::vector<bool> done(tasks.size());
    std::vector<std::vector<std::uint32_t>> reading(tasks.buffers.size());
    for (std::uint32_t at = 0; at < tasks.size(); ++at) {
        for (const std::uint32_t b : tasks.writes[at]) adds[at] += tasks.buffers[b].bytes;
        for (const std::uint32_t b : tasks.reads[at]) ++left[b], reading[b].push_back(at);
    }
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

}  // namespace

Order order_of(const Program& p, const Groups& g) {
    const Tasks tasks(p, g);
    Order recorded = with_peak(tasks, as_recorded(tasks), false);
    if (recorded.peak < kCheckedBytes) return recorded;
    Order other = with_peak(tasks, by_memory(tasks), true);
    const std::int64_t saved = recorded.peak - other.peak;
    return saved >= kMuchBytes || (saved > 0 && saved >= recorded.peak / kMuchPart) ? other : recorded;
}

std::vector<std::uint32_t> alive_at_peak(const Program& p, const Groups& g, const Order& order) {
    const Tasks tasks(p, g);
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
