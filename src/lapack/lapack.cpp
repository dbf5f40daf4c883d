#include "lapack/lapack.h"

#include <string>

#include "lapack/fortran.h"
#include "tenon/error.h"

// Said of each: g++ 12 takes no specialization of a function for hidden by itself.
#define HIDDEN [[gnu::visibility("hidden")]]

// ROUTINE(name, arguments) declares the Fortran routine that NAME(name) is, or without LAPACK stands in its place.
#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define NAME(name) JOIN(LETTER, name##_)

namespace tenon::lapack {

#if TENON_LAPACK

bool available() { return true; }

#define ROUTINE(name, arguments) extern "C" void NAME(name) arguments;

#else

bool available() { return false; }

namespace {

[[noreturn]] void decline(const char* routine) {
    throw Error(std::string(routine) +
                ": Tenon was built without LAPACK; building it needs liblapack_pic.a (Debian's liblapack-dev)");
}

}  // namespace

#define ROUTINE(name, arguments) \
    static void NAME(name) arguments { decline(#name); }

#endif

#define LETTER tenon_s
#define T float
#include "lapack/lapack.inc"
#undef LETTER
#undef T

#define LETTER tenon_d
#define T double
#include "lapack/lapack.inc"
#undef LETTER
#undef T

}  // namespace tenon::lapack
