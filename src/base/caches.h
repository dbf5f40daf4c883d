// The data caches of the machine, which say how much of a loop's operands stays near.
#pragma once

#include <cstdint>

namespace tenon {

struct Caches {
    std::int64_t first, second, last;  // bytes: of a core's own two levels, and of the last one
};
/// Asked once. Where the system does not tell: 32 KiB, 1 MiB, and none beyond.
const Caches& caches();

}  // namespace tenon
