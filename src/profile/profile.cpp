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
std::map<std::string_view, Entry> totals;

// A child must not find the mutex held by a thread that it does not have.
const int registered = pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

}  // namespace

void start() {
    std::lock_guard lock(mutex);
    totals.clear();
    active = true;
}

void stop() { active = false; }

void add(const Node& node, std::chrono::steady_clock::duration time) {
    const Cost cost = cost_of(node);
    std::lock_guard lock(mutex);
    Entry& e = totals[node.primitive->name];
    ++e.calls;
    e.seconds += std::chrono::duration<double>(time).count();
    e.flops += cost.flops;
    e.bytes += cost.bytes;
}

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
