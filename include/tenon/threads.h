// How many threads Tenon uses. The default is TENON_NUM_THREADS, else what the process may use: the CPUs of its
// affinity, at most its cgroup's CPU quota, rounded up. The number never changes a result.
#pragma once

#include "tenon/export.h"

namespace tenon {

constexpr int kMaxThreads = 4096;

/// At least 1. Throws ValueError where TENON_NUM_THREADS is not a number from 1 to kMaxThreads.
TENON_API int num_threads();
/// Applies to the whole process from the next operation on; 0 restores the default, read afresh. Throws ValueError
/// below 0 and above kMaxThreads.
TENON_API void set_num_threads(int n);

}  // namespace tenon
