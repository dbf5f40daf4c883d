// What the thread count and the pool tell each other, and those who cut work for threads.
#pragma once

namespace tenon {

/// usable_cpus(), read once; again after a fork and after set_num_threads(0).
int cached_usable_cpus();

/// Threads that a parallel_for called here would use at most: 1 inside a piece of another.
int threads_here();

/// Lets threads of the pool beyond num_threads() - 1 end.
void release_extra_threads();

}  // namespace tenon
