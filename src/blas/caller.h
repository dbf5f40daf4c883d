// Who called, and how a wrong argument is reported: with the reference's numbers, to the reference's two handlers,
// which a program may replace.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace tenon::blas {

struct Caller {
    /// In lower case: "dgemm".
    const char* name;
    /// Called through CBLAS, whose arguments begin with the layout; with contiguous rows; with 64-bit integers.
    bool c = false, by_rows = false, wide = false;
};

/// Reports a wrong argument `position` of the Fortran routine to xerbla_, which passes calls from CBLAS on to
/// cblas_xerbla.
void report(const Caller& caller, int position);
/// Reports to cblas_xerbla that argument `position` of the C function is not one of its constants.
void report_constant(const Caller& caller, int position, const char* argument, int value);
/// Prints on standard error what prevented the routine's result, and aborts.
[[noreturn]] void end_program(const Caller& caller, const char* what);

struct Rule {
    int position;
    bool holds;
};
/// Reports the first rule that is violated.
inline bool accepts(const Caller& caller, std::initializer_list<Rule> rules) {
    for (const Rule& rule : rules)
        if (!rule.holds) {
            report(caller, rule.position);
            return false;
        }
    return true;
}

// Options are letters as in Fortran, upper case, 0 if invalid. 'R', conjugated but not transposed, comes only from C.
inline char letter(char given, const char* known) {
    const char upper = given >= 'a' && given <= 'z' ? static_cast<char>(given - 'a' + 'A') : given;
    for (; *known != 0; ++known)
        if (*known == upper) return upper;
    return 0;
}
inline bool transposes(char trans) { return trans == 'T' || trans == 'C'; }
inline bool conjugates(char trans) { return trans == 'C' || trans == 'R'; }
inline char other_triangle(char uplo) { return uplo == 'U' ? 'L' : uplo == 'L' ? 'U' : uplo; }
inline char other_side(char side) { return side == 'L' ? 'R' : side == 'R' ? 'L' : side; }

/// The address of element 0 of a vector: with a negative increment, at the far end.
template <class T>
T* start(T* x, std::int64_t n, std::int64_t inc) {
    return inc < 0 ? x - (n - 1) * inc : x;
}

inline bool holds_rows(std::int64_t ld, std::int64_t rows) { return ld >= (rows > 1 ? rows : 1); }

}  // namespace tenon::blas
