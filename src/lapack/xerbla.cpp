// Wrong arguments of BLAS and LAPACK inside libtenon are faults of the library itself, reported as a tenon::Error.
// Unwinding through Fortran's frames loses nothing but memory of texts.
#include <string>

#include "blas/caller.h"
#include "tenon/error.h"

namespace tenon {
namespace {

[[noreturn]] void refuse(const std::string& routine, int position) {
    throw Error(routine + ": argument " + std::to_string(position) + " has no meaning");
}

}  // namespace

extern "C" void tenon_xerbla_(const char* routine, const int* position, std::size_t length) {
    refuse(std::string(routine, length), *position);
}

namespace blas {

void report(const Caller& caller, int position) { refuse(caller.name, position); }
void report_constant(const Caller& caller, int position, const char*, int) { refuse(caller.name, position); }

}  // namespace blas
}  // namespace tenon
