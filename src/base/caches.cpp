#include "base/caches.h"

#include <unistd.h>

namespace tenon {
namespace {

std::int64_t told(int name, std::int64_t otherwise) {
    const long bytes = sysconf(name);
    return bytes > 0 ? bytes : otherwise;
}

}  // namespace

const Caches& caches() {
    static const Caches sizes{told(_SC_LEVEL1_DCACHE_SIZE, 32 << 10), told(_SC_LEVEL2_CACHE_SIZE, 1 << 20)};
    return sizes;
}

}  // namespace tenon
