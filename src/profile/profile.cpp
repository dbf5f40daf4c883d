#include "tenon/profile.h"

#include <pthread.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "primitive/primitive.h"
#include "profile/recorder.h"

namespace tenon::profile {

std::atomic<bool> active{false};

namespace {

std::mutex mutex;
std::map<std::string, Entry, std::less<>> totals;

// A child must not find the mutex held by a thread that it does not have.
const int registered = pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

}  // namespace

void start() {
    std::lock_guard lock(mutex);
    totals.clear();
    active = true;
}

void stop() { active = false; }

void add(std::string_view name, const Cost& cost, std::chrono::steady_clock::duration time) {
    std::lock_guard lock(mutex);
    auto at = totals.find(name);
    if (at == totals.end()) at = totals.emplace(name, Entry{}).first;
    Entry& e = at->second;
    ++e.calls;
    e.seconds += std::chrono::duration<double>(time).count();
    e.flops += cost.flops;
    e.bytes += cost.bytes;
}

std::string name_of(std::span<const Node* const> nodes) {
    constexpr std::size_t kMaxNames = 6;
    std::vector<std::string_view> names;
    for (const Node* n : nodes)
        if (std::find(names.begin(), names.end(), n->primitive->name) == names.end())
            names.push_back(n->primitive->name);
    std::string all;
    for (std::size_t i = 0; i < names.size() && i < kMaxNames; ++i) all.append(i ? "+" : "").append(names[i]);
    return names.size() > kMaxNames ? all + "+..." : all;
}

void add(const Node& node, std::chrono::steady_clock::duration time) { add(node.primitive->name, cost_of(node), time); }

std::vector<Entry> entries() {
    std::lock_guard lock(mutex);
    std::vector<Entry> all;
    for (auto [name, e] : totals) {
        e.name = name;
        all.push_back(std::move(e));
    }
    std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.seconds > b.seconds; });
    return all;
}

}  // namespace tenon::profile
