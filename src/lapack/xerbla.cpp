// Wrong arguments of BLAS and LAPACK inside libtenon: the fault is the library's own, and an error of the usual family
// tells of it. Fortran's frames hold nothing that unwinding would lose but memory of text.
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
