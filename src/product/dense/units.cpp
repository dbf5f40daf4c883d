#include "product/dense/units.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/caches.h"

namespace tenon::product::dense {
namespace {

bool has_avx512_fp16() {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 23 & 1u) != 0;
#else
    return false;
#endif
}

Units asked() {
    Units u{};
    u.two_fma_units = caches().l1 >= 48 << 10;
    u.slow_dot_bfloat16 = u.three_loads = u.two_fma_units && has_avx512_fp16();
    return u;
}

}  // namespace

const Units& units() {
    static const Units the_units = asked();
    return the_units;
}

}  // namespace tenon::product::dense
