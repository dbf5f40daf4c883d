// The sizes of the caches, as the system reports them for one core.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tenon {

struct Caches {
    std::int64_t l1, l2, l3;  // bytes of the data caches; l3 is the last level, and never less than L2

    /// What one core may count on in the last level. A larger one serves a whole chip, and a virtual machine is told of
    /// all of it although others use it too.
    std::int64_t l3_of_one_core() const { return std::min(l3, std::int64_t{32} << 20); }

    /// Cores with 2 MiB of L2 (Intel's server cores since Golden Cove) share the last level among a whole chip; it
    /// gives one core a third of the bandwidth that a Zen 4 has (1 MiB of L2).
    bool large_l2() const { return l2 >= 3 << 19; }
};

/// If the system does not report them, 32 KiB, 1 MiB and the size of L2.
const Caches& caches();

}  // namespace tenon
