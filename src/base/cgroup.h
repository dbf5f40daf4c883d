// What the cgroups of this process grant it (versions 1 and 2), read from the kernel's files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tenon {

/// CPUs granted by "QUOTA PERIOD", the content of a version 2 cpu.max (in microseconds; version 1 has the two numbers
/// in two files), rounded up, at least 1. Empty if the quota is "max" or -1, or the text is something else.
std::optional<int> parse_cpu_quota(std::string_view text);

/// The smallest quota from the process's cgroup up to the root of the hierarchy. `proc_cgroup` is the content of
/// /proc/self/cgroup, `root` the directory where the hierarchies are mounted.
std::optional<int> cgroup_cpu_quota(std::string_view proc_cgroup, const std::string& root);

/// The smallest memory limit, in bytes, in the same way. Version 1 expresses "none" by a number beyond any memory.
std::optional<std::int64_t> cgroup_memory_limit(std::string_view proc_cgroup, const std::string& root);

/// Bytes that the system has for new work, including what it could drop from its caches, and at most the limit of the
/// cgroups; 0 if the system does not report it.
std::int64_t available_memory();

/// CPUs this process may use: those of its affinity mask, at most its cgroup quota; at least 1.
int usable_cpus();

}  // namespace tenon
