// The sizes of the nearest caches, as the system tells of one core.
#pragma once

#include <cstdint>

namespace tenon {

struct Caches {
    std::int64_t l1, l2;  // bytes; of data

    /// Cores with 2 MiB of L2 (Intel's server cores since Golden Cove) share the last level among a whole chip: it
    /// gives one core a third of the bandwidth of a Zen 4's (1 MiB of L2).
    bool large_l2() const { return l2 >= 3 << 19; }
};

/// If the system does not say, 32 KiB and 1 MiB.
const Caches& caches();

}  // namespace tenon
