// The sizes of the nearest caches, as the system tells of one core.
#pragma once

#include <cstdint>

namespace tenon {

struct Caches {
    std::int64_t l1, l2;  // bytes; of data
};

/// Where the system does not tell, 32 KiB and 1 MiB.
const Caches& caches();

}  // namespace tenon
