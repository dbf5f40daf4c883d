#include "schedule/replay.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <list>

#include "base/hash.h"
#include "cuda/device.h"
#include "cuda/graph.h"
#include "primitive/leaf.h"
#include "schedule/place.h"

namespace tenon::schedule {
namespace {

// One graph costs the host less than one kernel, but its first kernel does not begin while the work before it ends. So
// a few tasks become a graph only if the device would be done with them before the host could launch them one by one.
// Our kernels do begin early, cuBLAS's do not; with chains, which take long, that is worth more than the host's time,
// unless there are many tasks or they are short.
constexpr std::size_t kMinTasks = 3, kManyTasks = 12;
constexpr double kShortSeconds = 2e-5, kLaunchSeconds = 5e-6, kFlopsOfSecond = 5e14, kBytesOfSecond = 2e12;
constexpr double kFewRowsSeconds = 1.5e-5;
constexpr std::size_t kMaxGraphs = 8;  // of an executable; the least recently used one is dropped
constexpr std::size_t kSeen = 16;  // runs whose addresses are remembered
constexpr std::int64_t kUnpaid = 8;  // the excess of recordings over launches at which recording ends
constexpr std::int64_t kSlot = 16;  // bytes: any number, at any kernel's alignment

std::atomic<std::int64_t> graphs{0}, launches{0};

std::uint64_t hash_of(const std::vector<const void*>& addresses) {
    std::uint64_t h = addresses.size();
    for (const void* a : addresses) h = mix(h, reinterpret_cast<std::uintptr_t>(a));
    return h;
}

/// Whether a task's kernels are ours, which begin while the work before them ends (Launch::overlaps_previous).
bool begins_early(const Task& t, std::span<Node* const> nodes) {
    using Kind = Task::Kind;
    if (t.kind != Kind::kernel)
        return t.kind == Kind::tape || t.kind == Kind::rows || t.kind == Kind::column_sums || t.kind == Kind::chain;
    const Role role = nodes[t.node]->primitive->role;
    return role == Role::leaf || role == Role::pointwise || role == Role::reduction || role == Role::indexing;
}

/// Whether a task is a product of up to 32 rows in 16 bits, whose kernel is ours (cuda/half_rows.h).
bool is_of_few_rows(const Task& t, std::span<Node* const> nodes) {
    constexpr double kFlopsOfByte = 32;  // of 32 rows, whose weights of 2 bytes are read once
    const Node& n = *nodes[t.node];
    return (t.kind == Task::Kind::kernel || t.kind == Task::Kind::product) && n.primitive->role == Role::product &&
           is_floating(n.dtype) && size_of(n.dtype) == 2 && t.cost.flops <= kFlopsOfByte * t.cost.bytes;
}

/// Whether the executable, with so many tasks that are no numbers, is worth a graph.
bool pays(const Executable& e, std::span<Node* const> nodes, std::size_t tasks) {
    double seconds = 0;
    bool chains = false, early = true, few_rows = true;
    for (const Task& t : e.tasks) {
        seconds += std::max(t.cost.flops / kFlopsOfSecond, t.cost.bytes / kBytesOfSecond);
        chains = chains || t.kind == Task::Kind::chain;
        early = early && begins_early(t, nodes);
        few_rows = few_rows && (begins_early(t, nodes) || is_of_few_rows(t, nodes));
    }
    if (!chains) {
        const double least = early      ? static_cast<double>(tasks) * kLaunchSeconds
                             : few_rows ? kFewRowsSeconds
                                        : kShortSeconds;
        return tasks >= kMinTasks || (tasks > 0 && seconds < least);
    }
    return tasks >= kManyTasks || (tasks >= kMinTasks && seconds < static_cast<double>(tasks) * kLaunchSeconds);
}

/// Whether no task takes the memory of a number for its result.
bool numbers_stay(const Executable& e, const Numbers& numbers) {
    return std::none_of(e.tasks.begin(), e.tasks.end(), [&](const Task& t) {
        return !t.is_number && std::any_of(t.out.begin(), t.out.end(), [&](const auto& out) {
            return out.at.in == Location::In::arena &&
                   std::any_of(numbers.all.begin(), numbers.all.end(),
                               [&](const Numbers::Place& p) { return p.buffer == out.at.index; });
        });
    });
}

}  // namespace

struct Replay {
    struct Recorded {
        std::vector<const void*> addresses;
        std::unique_ptr<cuda::Graph> graph;
    };
    Numbers numbers;
    bool numbers_stay = false;
    std::vector<std::byte> placed;  // the numbers of the last run, if they stay
    bool wanted = false;
    std::deque<std::uint64_t> seen;  // hashes of addresses
    std::list<Recorded> recorded;  // the most recently used first
    std::int64_t unpaid = 0;
};

std::shared_ptr<Replay> make_replay(const Executable& e, std::span<Node* const> nodes, Device device) {
    auto r = std::make_shared<Replay>();
    for (std::uint32_t t = 0; t < e.tasks.size(); ++t)
        if (e.tasks[t].is_number)
            r->numbers.all.push_back(
                {t, e.tasks[t].out[0].at.index, kSlot * static_cast<std::int64_t>(r->numbers.all.size())});
    if (!r->numbers.all.empty())
        r->numbers.storage = allocate(device, kSlot * static_cast<std::int64_t>(r->numbers.all.size()));
    r->numbers_stay = numbers_stay(e, r->numbers);
    r->wanted = pays(e, nodes, e.tasks.size() - r->numbers.all.size());
    return r;
}

const Numbers& put_numbers(Replay& r, const Executable& e, std::span<Node* const> nodes, Device device) {
    const Numbers& numbers = r.numbers;
    if (numbers.all.empty()) return numbers;
    std::vector<std::byte> values(numbers.all.size() * static_cast<std::size_t>(kSlot));
    for (const Numbers::Place& p : numbers.all) {
        const Node& n = *nodes[e.tasks[p.task].node];
        n.primitive->reference(n, {}, {values.data() + p.offset, n.dtype, {}});
    }
    if (r.numbers_stay && values == r.placed) return numbers;
    r.placed.clear();
    cuda::Gpu::at(device.index)
        .to_device(numbers.storage->data(), values.data(), static_cast<std::int64_t>(values.size()));
    if (r.numbers_stay) r.placed = std::move(values);
    return numbers;
}

void run_again(Replay& r, Device device, std::vector<const void*> addresses, const std::function<void()>& enqueue) {
    if (!r.wanted) return enqueue();
    const auto found = std::find_if(r.recorded.begin(), r.recorded.end(),
                                    [&](const Replay::Recorded& x) { return x.addresses == addresses; });
    if (found != r.recorded.end()) {
        r.recorded.splice(r.recorded.begin(), r.recorded, found);
        if (found->graph->launch()) {
            --r.unpaid;
            ++launches;
            return;
        }
        r.recorded.erase(found);
    }
    const std::uint64_t hash = hash_of(addresses);
    const auto before = std::find(r.seen.begin(), r.seen.end(), hash);
    if (before == r.seen.end()) {
        r.seen.push_back(hash);
        if (r.seen.size() > kSeen) r.seen.pop_front();
        return enqueue();
    }
    r.seen.erase(before);
    std::unique_ptr<cuda::Graph> graph = cuda::Graph::record(cuda::Gpu::at(device.index), enqueue);
    if (!graph || !graph->launch()) {
        r.wanted = graph != nullptr;  // what cannot be recorded now cannot be later
        return enqueue();
    }
    ++graphs, ++launches;
    if (r.recorded.size() == kMaxGraphs) r.recorded.pop_back();
    r.recorded.push_front({std::move(addresses), std::move(graph)});
    if (++r.unpaid >= kUnpaid) r.wanted = false, r.recorded.clear();
}

ReplayStatistics replay_statistics() { return {graphs.load(), launches.load()}; }

}  // namespace tenon::schedule
