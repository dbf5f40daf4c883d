// Where the system puts the threads of the pool.
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
/// Allows `thread` every CPU it is allowed but this thread's own, so that one that waits behind this thread starts
/// elsewhere. Does nothing where there is no other.
void keep_off_this_cpu(pid_t thread, KeptOff& state);
/// Allows this thread again what it was allowed before.
void allow_again(KeptOff& state);
#endif

}  // namespace tenon
