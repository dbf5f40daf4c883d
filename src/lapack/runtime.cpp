// The functions of Fortran's run-time library that LAPACK calls, so that the library itself is not needed.
#include <algorithm>
#include <cstring>
#include <ctime>

#include "lapack/fortran.h"

extern "C" {

/// a // b in a text of `length`, with blanks at its end.
void TENON_SYMBOL(_gfortran_concat_string)(std::size_t length, char* text, std::size_t length_a, const char* a,
                                           std::size_t length_b, const char* b) {
    const std::size_t from_a = std::min(length_a, length), from_b = std::min(length_b, length - from_a);
    std::memmove(text, a, from_a);
    std::memmove(text + from_a, b, from_b);
    std::memset(text + from_a + from_b, ' ', length - from_a - from_b);
}

/// Seconds of CPU time.
TENON_LAPACK_API double TENON_SYMBOL(dsecnd_)() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }
TENON_LAPACK_API float TENON_SYMBOL(second_)() { return static_cast<float>(TENON_SYMBOL(dsecnd_)()); }
}
