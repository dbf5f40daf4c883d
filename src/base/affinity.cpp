#include "base/affinity.h"

namespace tenon {

#if defined(__linux__)

void keep_off_this_cpu(pid_t thread, KeptOff& state) {
    const int cpu = sched_getcpu();
    cpu_set_t allowed;
    // More CPUs than the set holds: an error, and nothing is done.
    if (state.kept || cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(thread, sizeof allowed, &allowed) != 0) return;
    state.allowed = allowed;
    CPU_CLR(cpu, &allowed);
    if (CPU_COUNT(&allowed) > 0) state.kept = sched_setaffinity(thread, sizeof allowed, &allowed) == 0;
}

void allow_again(KeptOff& state) {
    if (state.kept) sched_setaffinity(0, sizeof state.allowed, &state.allowed);
    state.kept = false;
}

#endif

}  // namespace tenon
