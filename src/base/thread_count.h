// What the thread count and the pool, and callers that divide work, tell each other.
#pragma once

namespace tenon {

/// usable_cpus(), read once; read again after a fork and after set_num_threads(0).
int cached_usable_cpus();

/// The most threads that a parallel_for called here would use: 1 inside a piece of another.
int threads_here();

/// Ends threads of the pool beyond num_threads() - 1.
void release_extra_threads();

}  // namespace tenon
