#include "tenon/threads.h"

#include <pthread.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "base/cgroup.h"
#include "base/text.h"
#include "base/thread_count.h"
#include "tenon/error.h"

namespace tenon {
namespace {

constexpr int kUnknown = 0;

std::atomic<int> chosen{kUnknown};  // by set_num_threads
std::atomic<int> default_count{kUnknown};  // computed when first asked for
std::atomic<int> cpus{kUnknown};

// A child may have another affinity or cgroup by the time it asks.
const int registered = pthread_atfork(nullptr, nullptr, [] {
    cpus.store(kUnknown, std::memory_order_relaxed);
    default_count.store(kUnknown, std::memory_order_relaxed);
});

int default_threads() {
    const char* wanted = std::getenv("TENON_NUM_THREADS");
    if (!wanted || !*wanted) return cached_usable_cpus();
    const std::string_view text_of(wanted);
    int n = 0;
    const auto [end, error] = std::from_chars(text_of.data(), text_of.data() + text_of.size(), n);
    if (error != std::errc() || end != text_of.data() + text_of.size() || n < 1 || n > kMaxThreads)
        throw ValueError(text("TENON_NUM_THREADS=", wanted, ": not a whole number from 1 to ", kMaxThreads));
    return n;
}

}  // namespace

int cached_usable_cpus() {
    int n = cpus.load(std::memory_order_relaxed);
    if (n == kUnknown) {
        n = usable_cpus();
        cpus.store(n, std::memory_order_relaxed);
    }
    return n;
}

int num_threads() {
    if (const int n = chosen.load(std::memory_order_relaxed); n != kUnknown) return n;
    int n = default_count.load(std::memory_order_relaxed);
    if (n == kUnknown) {
        n = default_threads();
        default_count.store(n, std::memory_order_relaxed);
    }
    return n;
}

void set_num_threads(int n) {
    if (n < 0 || n > kMaxThreads)
        throw ValueError(text("set_num_threads: ", n, " is not within 0 (the default) to ", kMaxThreads));
    if (n == 0) {
        cpus.store(kUnknown, std::memory_order_relaxed);
        default_count.store(default_threads(), std::memory_order_relaxed);
    }
    chosen.store(n, std::memory_order_relaxed);
    release_extra_threads();
}

}  // namespace tenon
