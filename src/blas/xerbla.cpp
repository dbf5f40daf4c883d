// The handlers of wrong arguments, and the reference's other symbols that are no operations. They are weak symbols: a
// program may define its own, as the reference's tests do.
#include <algorithm>
#include <cctype>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "blas/caller.h"
#include "blas/export.h"

extern "C" {

// Set only while a wrong argument of a C function is reported.
TENON_BLAS_API int CBLAS_CallFromC = 0, RowMajorStrg = 0;

TENON_BLAS_WEAK void xerbla_(const char* routine, const int* position, std::size_t length);
TENON_BLAS_WEAK void xerbla_64_(const char* routine, const std::int64_t* position, std::size_t length);
TENON_BLAS_WEAK void cblas_xerbla(int position, const char* routine, const char* form, ...);
TENON_BLAS_WEAK void cblas_xerbla_64(std::int64_t position, const char* routine, const char* form, ...);
}

namespace {

/// Positions, in the C function, of arguments that are exchanged in the Fortran call when rows are contiguous.
struct Exchange {
    const char* routine;
    int first, second;
};
constexpr Exchange kExchanges[] = {
    {"gemm_batch_strided", 4, 5},
    {"gemm_batch_strided", 9, 12},
    {"gemmt", 9, 11},
    {"gemm", 4, 5},
    {"gemm", 9, 11},
    {"symm", 4, 5},
    {"hemm", 4, 5},
    {"trmm", 6, 7},
    {"trsm", 6, 7},
    {"gemv", 3, 4},
    {"gbmv", 3, 4},
    {"gbmv", 5, 6},
    {"her2k", 0, 0},
    {"her2", 6, 8},
    {"hpr2", 6, 8},
    {"ger", 2, 3},
    {"ger", 6, 8},
};

int by_rows(int position, const char* routine) {
    const char* matched = nullptr;
    for (const Exchange& e : kExchanges) {
        if (matched ? std::strcmp(matched, e.routine) != 0 : !std::strstr(routine, e.routine)) continue;
        matched = e.routine;
        if (position == e.first) return e.second;
        if (position == e.second) return e.first;
    }
    return position;
}

std::string trimmed(const char* routine, std::size_t length) {
    std::string name(routine, strnlen(routine, std::min<std::size_t>(length, 32)));
    while (!name.empty() && name.back() == ' ') name.pop_back();
    return name;
}

[[noreturn]] void stop() { std::exit(EXIT_FAILURE); }

void say(long long position, const char* routine) {
    std::fprintf(stderr, " ** On entry to %s parameter number %lld had an illegal value\n", routine, position);
}

void say_c(long long position, const char* routine, const char* form, std::va_list arguments) {
    if (position != 0) std::fprintf(stderr, "Parameter %lld to routine %s was incorrect\n", position, routine);
    std::vfprintf(stderr, form, arguments);
}

std::string c_name(std::string routine) {
    for (char& c : routine) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return "cblas_" + routine;
}

}  // namespace

extern "C" {

void xerbla_(const char* routine, const int* position, std::size_t length) {
    const std::string name = trimmed(routine, length);
    if (CBLAS_CallFromC) return cblas_xerbla(*position + 1, c_name(name).c_str(), "");
    say(*position, name.c_str());
    stop();
}

void xerbla_64_(const char* routine, const std::int64_t* position, std::size_t length) {
    const std::string name = trimmed(routine, length);
    if (CBLAS_CallFromC) return cblas_xerbla_64(*position + 1, c_name(name).c_str(), "");
    say(*position, name.c_str());
    stop();
}

void cblas_xerbla(int position, const char* routine, const char* form, ...) {
    std::va_list arguments;
    va_start(arguments, form);
    say_c(RowMajorStrg ? by_rows(position, routine) : position, routine, form, arguments);
    va_end(arguments);
    stop();
}

void cblas_xerbla_64(std::int64_t position, const char* routine, const char* form, ...) {
    std::va_list arguments;
    va_start(arguments, form);
    say_c(RowMajorStrg ? by_rows(static_cast<int>(position), routine) : position, routine, form, arguments);
    va_end(arguments);
    stop();
}

/// The name as an array of characters, as C programs pass it to Fortran.
TENON_BLAS_API void xerbla_array_(const char* routine, const int* length, const int* position) {
    xerbla_(routine, position, static_cast<std::size_t>(std::max(*length, 0)));
}
TENON_BLAS_API void xerbla_array_64_(const char* routine, const std::int64_t* length, const std::int64_t* position) {
    xerbla_64_(routine, position, static_cast<std::size_t>(std::max<std::int64_t>(*length, 0)));
}

TENON_BLAS_API int lsame_(const char* a, const char* b) {
    return std::toupper(static_cast<unsigned char>(*a)) == std::toupper(static_cast<unsigned char>(*b));
}
TENON_BLAS_API std::int64_t lsame_64_(const char* a, const char* b) { return lsame_(a, b); }
}

namespace tenon::blas {
namespace {

/// While it lives, a wrong argument of a C function is being reported.
class FromC {
  public:
    explicit FromC(const Caller& caller) {
        if (!caller.c) return;
        CBLAS_CallFromC = 1;
        RowMajorStrg = caller.by_rows;
    }
    ~FromC() { CBLAS_CallFromC = RowMajorStrg = 0; }
};

}  // namespace

void report(const Caller& caller, int position) {
    const FromC from_c(caller);
    // As Fortran passes it: upper case, at least six characters.
    std::string routine = caller.name;
    for (char& c : routine) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    routine.resize(std::max<std::size_t>(routine.size(), 6), ' ');
    const std::int64_t wide = position;
    if (caller.wide)
        xerbla_64_(routine.c_str(), &wide, routine.size());
    else
        xerbla_(routine.c_str(), &position, routine.size());
}

void report_constant(const Caller& caller, int position, const char* argument, int value) {
    const FromC from_c(caller);
    const std::string routine = "cblas_" + std::string(caller.name),
                      form = "Illegal " + std::string(argument) + " setting, %d\n";
    if (caller.wide)
        cblas_xerbla_64(position, routine.c_str(), form.c_str(), value);
    else
        cblas_xerbla(position, routine.c_str(), form.c_str(), value);
}

void end_program(const Caller& caller, const char* what) {
    std::fprintf(stderr, "libtenon_blas: %s%s%s: %s\n", caller.c ? "cblas_" : "", caller.name, caller.wide ? "_64" : "",
                 what);
    std::abort();
}

}  // namespace tenon::blas
