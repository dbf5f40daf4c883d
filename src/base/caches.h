// The sizes of the nearest caches, as the system reports them for one core.
#pragma once

#include <cstdint>

namespace tenon {

struct Caches {
    std::int64_t l1, l2;  // bytes of the data caches

    /// Cores with 2 MiB of L2 (Intel's server cores since Golden Cove) share the last level among a whole chip; it
    /// gives one core a third of the bandwidth that a Zen 4 has (1 MiB of L2).
    bool large_l2() const { return l2 >= 3 << 19; }
};

/// If the system does not report them, 32 KiB and 1 MiB.
const Caches& caches();

}  // namespace tenon
