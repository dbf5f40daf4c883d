// The CPUs on which the system may run the pool's threads.
#pragma once

#if defined(__linux__)
#include <sched.h>
#include <sys/types.h>
#endif

namespace tenon {

#if defined(__linux__)
/// A thread that was moved off a CPU, and the CPUs that it was allowed before.
struct KeptOff {
    bool kept = false;
    cpu_set_t allowed;
};
/// Excludes the CPU that this thread runs on from those of `thread`, so that a `thread` that waits behind this one
/// starts on another. Does nothing if it has no other.
void keep_off_this_cpu(pid_t thread, KeptOff& state);
/// Restores this thread's previous CPUs.
void allow_again(KeptOff& state);
#endif

}  // namespace tenon
