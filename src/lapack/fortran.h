// How LAPACK's routines are named and called: as in libtenon, `tenon_dpotrf_`, or by their own names in
// libtenon_lapack.so. The routines that src/lapack replaces compile for both.
#pragma once

#include <cstddef>
#include <cstdint>

#if TENON_LAPACK_OWN_NAMES
#define TENON_SYMBOL(name) name
#define TENON_LAPACK_API __attribute__((visibility("default")))
#else
#define TENON_SYMBOL(name) tenon_##name
#define TENON_LAPACK_API
#endif

namespace tenon::lapack {

using Option = const char*;
using Int = const int*;
/// Of a text, after all other arguments; LAPACK reads one letter of each.
using Length = std::size_t;

}  // namespace tenon::lapack
