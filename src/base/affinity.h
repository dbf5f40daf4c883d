// On which CPUs the system may run the threads of the pool.
#pragma once

#if defined(__linux__)
#include <sched.h>
#include <sys/types.h>
#endif

namespace tenon {

#if defined(__linux__)
/// A thread that was kept off a CPU, and the CPUs it was allowed before.
struct KeptOff {
    bool kept = false;
    cpu_set_t allowed;
};
/// Takes the CPU that this thread runs on away from `thread`, so that a `thread` that waits behind this one starts on
/// another. Does nothing if it has no other.
void keep_off_this_cpu(pid_t thread, KeptOff& state);
/// Gives this thread back the CPUs that it had before.
void allow_again(KeptOff& state);
#endif

}  // namespace tenon
