// What the thread count and the pool tell each other.
#pragma once

namespace tenon {

/// usable_cpus(), read once; again after a fork and after set_num_threads(0).
int cached_usable_cpus();

/// Lets threads of the pool beyond num_threads() - 1 end.
void release_extra_threads();

}  // namespace tenon
