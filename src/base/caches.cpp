#include "base/caches.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace tenon {
namespace {

std::int64_t size_of_level(int name, std::int64_t otherwise) {
    const long bytes = sysconf(name);
    return bytes > 0 ? bytes : otherwise;
}

Caches ask() {
    const std::int64_t first = size_of_level(_SC_LEVEL1_DCACHE_SIZE, 32 << 10),
                       second = size_of_level(_SC_LEVEL2_CACHE_SIZE, 1 << 20);
    // As Linux tells of one CPU's last level; the C library's figure may be that of a whole socket, of which a virtual
    // machine has a part.
    std::int64_t kib = 0;
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
    const bool told = file >> kib && kib > 0;
    return {first, second, std::max(told ? kib << 10 : size_of_level(_SC_LEVEL3_CACHE_SIZE, 0), second)};
}

}  // namespace

const Caches& caches() {
    static const Caches all = ask();
    return all;
}

}  // namespace tenon
