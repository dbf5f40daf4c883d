#include "base/cgroup.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <thread>

namespace tenon {
namespace {

std::string contents(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The next word of `text`, which is shortened by it.
std::string_view take_word(std::string_view& text) {
    constexpr std::string_view blank = " \t\r\n";
    text.remove_prefix(std::min(text.find_first_not_of(blank), text.size()));
    const std::string_view word = text.substr(0, text.find_first_of(blank));
    text.remove_prefix(word.size());
    return word;
}

bool parse(std::string_view word, std::int64_t& value) {
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    return error == std::errc() && end == word.data() + word.size();
}

using Limit = std::optional<std::int64_t>;

void keep_smaller(Limit& least, Limit other) {
    if (other && (!least || *other < *least)) least = other;
}

// A container sees its own cgroup at the mount's root while /proc may name the host's path: trying each ancestor covers
// both, and a limit set above also binds.
template <class LimitOf>
Limit least_of_ancestors(std::string path, LimitOf limit_of) {
    Limit least;
    while (true) {
        keep_smaller(least, limit_of(path));
        if (path.empty()) return least;
        path.erase(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
}

bool names_controller(std::string_view list, std::string_view wanted) {
    while (!list.empty()) {
        const std::string_view one = list.substr(0, list.find(','));
        if (one == wanted) return true;
        list.remove_prefix(std::min(one.size() + 1, list.size()));
    }
    return false;
}

// The smaller of version2(group) and, if `controller` has a hierarchy of version 1, version1(group).
template <class Version1, class Version2>
Limit least(std::string_view proc_cgroup, std::string_view controller, Version1 version1, Version2 version2) {
    Limit least;
    while (!proc_cgroup.empty()) {  // lines of "ID:CONTROLLERS:PATH"
        const std::string_view line = proc_cgroup.substr(0, proc_cgroup.find('\n'));
        proc_cgroup.remove_prefix(std::min(line.size() + 1, proc_cgroup.size()));
        const std::size_t first = line.find(':');
        const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
        if (second == line.npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1);
        std::string path(line.substr(second + 1));
        if (path == "/") path.clear();
        if (controllers.empty())
            keep_smaller(least, least_of_ancestors(path, version2));
        else if (names_controller(controllers, controller))
            keep_smaller(least, least_of_ancestors(path, version1));
    }
    return least;
}

Limit parse_bytes(std::string_view text) {
    std::int64_t bytes = 0;
    if (!parse(take_word(text), bytes) || bytes < 0 || !take_word(text).empty()) return {};
    return bytes;
}

int affinity_cpus() {
    // The kernel refuses a mask shorter than its own, and does not say how long that is.
    for (std::size_t cpus = 1024; cpus <= 1024 * 1024; cpus *= 2) {
        cpu_set_t* set = CPU_ALLOC(cpus);
        if (!set) break;
        const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
        const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

std::optional<int> parse_cpu_quota(std::string_view text) {
    std::int64_t quota = 0, period = 0;
    if (!parse(take_word(text), quota) || !parse(take_word(text), period) || !take_word(text).empty()) return {};
    if (quota <= 0 || period <= 0) return {};
    return static_cast<int>(std::min<std::int64_t>(quota / period + (quota % period != 0), INT_MAX));
}

std::optional<int> cgroup_cpu_quota(std::string_view proc_cgroup, const std::string& root) {
    const auto version1 = [&](const std::string& group) -> Limit {
        const std::string at = root + "/cpu" + group + "/cpu.cfs_";
        return parse_cpu_quota(contents(at + "quota_us") + ' ' + contents(at + "period_us"));
    };
    const auto version2 = [&](const std::string& group) -> Limit {
        return parse_cpu_quota(contents(root + group + "/cpu.max"));
    };
    const Limit cpus = least(proc_cgroup, "cpu", version1, version2);
    return cpus ? std::optional(static_cast<int>(*cpus)) : std::nullopt;
}

std::optional<std::int64_t> cgroup_memory_limit(std::string_view proc_cgroup, const std::string& root) {
    return least(
        proc_cgroup, "memory",
        [&](const std::string& group) {
            return parse_bytes(contents(root + "/memory" + group + "/memory.limit_in_bytes"));
        },
        [&](const std::string& group) { return parse_bytes(contents(root + group + "/memory.max")); });
}

std::int64_t available_memory() {
    const std::string meminfo = contents("/proc/meminfo");
    constexpr std::string_view name = "MemAvailable:";
    const std::size_t at = meminfo.find(name);
    std::string_view rest = std::string_view(meminfo).substr(at == meminfo.npos ? meminfo.size() : at + name.size());
    std::int64_t kib = 0;
    if (!parse(take_word(rest), kib) || kib < 0 || kib > INT64_MAX / 1024) return 0;
    const auto limit = cgroup_memory_limit(contents("/proc/self/cgroup"), "/sys/fs/cgroup");
    return std::min(1024 * kib, limit.value_or(INT64_MAX));
}

int usable_cpus() {
    const int allowed = affinity_cpus();
    return std::min(allowed, cgroup_cpu_quota(contents("/proc/self/cgroup"), "/sys/fs/cgroup").value_or(allowed));
}

}  // namespace tenon
