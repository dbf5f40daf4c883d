// What the routines of src/lapack that replace the reference's share: the names of LAPACK's and BLAS's routines, and
// how they are called: `tenon_dpotrf_` in libtenon, their own names in libtenon_lapack.so. These files compile for
// both.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lapack/kernels.h"

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

extern "C" void TENON_SYMBOL(xerbla_)(const char* routine, const int* position, std::size_t length);

/// The kernels of the instruction set in use.
const IsaKernels& kernels();

inline char upper(char letter) {
    return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
}

/// The name of a routine of type T: "DPOTRF".
struct Name {
    char text[8];
    std::size_t length;

    template <std::size_t N>
    Name(char letter, const char (&rest)[N]) : text{letter}, length(N) {
        static_assert(N < sizeof(text));
        for (std::size_t i = 0; i + 1 < N; ++i) text[i + 1] = rest[i];
    }
};
template <class T>
inline constexpr char kLetter = sizeof(T) == 4 ? 'S' : 'D';

struct Rule {
    int position;
    bool holds;
};
/// 0, or minus the position of the first rule that is violated, which is reported to xerbla_.
template <class T, std::size_t N, std::size_t Rules>
int check(const char (&name)[N], const Rule (&rules)[Rules]) {
    for (const Rule& rule : rules)
        if (!rule.holds) {
            const Name routine(kLetter<T>, name);
            TENON_SYMBOL(xerbla_)(routine.text, &rule.position, routine.length);
            return -rule.position;
        }
    return 0;
}

inline bool holds_rows(int ld, int rows) { return ld >= (rows > 1 ? rows : 1); }

}  // namespace tenon::lapack
