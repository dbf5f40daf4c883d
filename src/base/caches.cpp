#include "base/caches.h"

#include <unistd.h>

#include <fstream>
#include <locale>

namespace tenon {
namespace {

std::int64_t told(int name, std::int64_t otherwise) {
    const long bytes = sysconf(name);
    return bytes > 0 ? bytes : otherwise;
}

/// As Linux gives it for the first CPU. The C library may give that of a whole socket, of which a virtual machine has
/// only a part.
std::int64_t last_level() {
    std::int64_t kib = 0;
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
    file.imbue(std::locale::classic());
    return file >> kib && kib > 0 ? kib << 10 : told(_SC_LEVEL3_CACHE_SIZE, 0);
}

Caches asked() {
    const std::int64_t l2 = told(_SC_LEVEL2_CACHE_SIZE, 1 << 20);
    return {told(_SC_LEVEL1_DCACHE_SIZE, 32 << 10), l2, std::max(last_level(), l2)};
}

}  // namespace

const Caches& caches() {
    static const Caches sizes = asked();
    return sizes;
}

}  // namespace tenon
