// How many CPUs the cgroups of this process grant it (versions 1 and 2), read from the kernel's files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tenon {

/// CPUs granted by "QUOTA PERIOD", the content of a version 2 cpu.max (microseconds; version 1 has the two numbers in
/// two files), rounded up, at least 1. Nothing where the quota is "max" or -1, or the text is something else.
std::optional<int> parse_cpu_quota(std::string_view text);

/// The smallest quota from the process's cgroup up to the root of the hierarchy. `proc_cgroup` is the content of
/// /proc/self/cgroup, `root` the directory where the hierarchies are mounted.
std::optional<int> cgroup_cpu_quota(std::string_view proc_cgroup, const std::string& root);

/// CPUs this process may use: its affinity mask, cut by its cgroup quota; at least 1.
int usable_cpus();

}  // namespace tenon
