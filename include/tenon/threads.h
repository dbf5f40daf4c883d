// How many threads Tenon uses. The default is what the process may use: its CPU affinity, cut by a cgroup's CPU quota,
// or TENON_NUM_THREADS. The number never changes a result.
#pragma once

#include "tenon/export.h"

namespace tenon {

/// At least 1.
TENON_API int num_threads();
/// Applies to the whole process from the next operation on; 0 restores the default. Throws ValueError below 0.
TENON_API void set_num_threads(int n);

}  // namespace tenon
