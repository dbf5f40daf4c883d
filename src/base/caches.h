// The sizes of the nearest caches, as the system tells of one core.
#pragma once

#include <cstdint>

namespace tenon {

struct Caches {
    std::int64_t l1, l2;  // bytes; of data

    /// A core with 2 MiB of L2 (Intel's of servers since Golden Cove) has a last level that a whole chip shares, which
    /// gives one core a third of the bytes of a Zen 4's (1 MiB of L2).
    bool large_l2() const { return l2 >= 3 << 19; }
};

/// Where the system does not tell, 32 KiB and 1 MiB.
const Caches& caches();

}  // namespace tenon
