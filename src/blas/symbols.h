// What the files of symbols share. symbols_lp64.cpp and symbols_ilp64.cpp include this with TENON_WIDE 0 and 1, and it
// includes level1.inc, level2.inc and level3.inc once a type: each defines the Fortran and the C function of every
// routine, by
//     T, R       the type and its real type
//     I          the integers of this width
//     FORTRAN(gemm) -> dgemm_ or dgemm_64_; CBLAS(gemm) -> cblas_dgemm or cblas_dgemm_64
//     Scalar     how C hands a number over: by value, or a complex one by its address
// symbols_tenon.cpp adds TENON_PREFIX, with which every name begins and none is exported.
// No routine is computed here.
#include <cstdint>
#include <new>

#include "blas/caller.h"
#include "blas/export.h"
#include "blas/level1.h"
#include "blas/level2.h"
#include "blas/level3.h"
#include "blas/mixed.h"
#include "tenon/error.h"

#define TENON_JOIN2(a, b) a##b
#define TENON_JOIN(a, b) TENON_JOIN2(a, b)
#define TENON_TEXT2(a) #a
#define TENON_TEXT(a) TENON_TEXT2(a)

#if TENON_WIDE
#define FORTRAN_NAME(name) TENON_JOIN(name, _64_)
#define CBLAS_NAME(name) TENON_JOIN(TENON_JOIN(cblas_, name), _64)
#elif defined(TENON_PREFIX)
#undef TENON_BLAS_API
#define TENON_BLAS_API
#define FORTRAN_NAME(name) TENON_JOIN(TENON_PREFIX, TENON_JOIN(name, _))
#define CBLAS_NAME(name) TENON_JOIN(TENON_PREFIX, TENON_JOIN(cblas_, name))
#else
#define FORTRAN_NAME(name) TENON_JOIN(name, _)
#define CBLAS_NAME(name) TENON_JOIN(cblas_, name)
#endif
// The name of a routine that begins with the type's letter.
#define ROUTINE(name) TENON_JOIN(TENON_LETTER, name)
// The name of a real routine on complex data: scnrm2 and csscal.
#define REAL_OF(name) TENON_JOIN(TENON_JOIN(TENON_REAL_LETTER, TENON_LETTER), name)
#define BY_REAL(name) TENON_JOIN(TENON_JOIN(TENON_LETTER, TENON_REAL_LETTER), name)
#define FORTRAN(name) TENON_BLAS_API void FORTRAN_NAME(ROUTINE(name))
#define CBLAS(name) TENON_BLAS_API void CBLAS_NAME(ROUTINE(name))
#define FROM_FORTRAN(name) \
    Caller { TENON_TEXT(ROUTINE(name)), false, false, TENON_WIDE != 0 }
#define FROM_C(name, layout) \
    Caller { TENON_TEXT(ROUTINE(name)), true, (layout) == kRowMajor, TENON_WIDE != 0 }

namespace tenon::blas {
namespace {

#if TENON_WIDE
using I = std::int64_t;
#else
using I = std::int32_t;
#endif

using Option = const char*;  // of Fortran
using Int = const I*;

constexpr int kRowMajor = 101, kColumnMajor = 102;

/// Errors that BLAS cannot report, mainly no scratch memory, end the program; inside libtenon they are exceptions like
/// any other.
template <class F>
void or_end([[maybe_unused]] const Caller& caller, F run) {
#if defined(TENON_PREFIX)
    run();
#else
    try {
        run();
    } catch (const Error& error) {
        end_program(caller, error.what());
    } catch (const std::bad_alloc&) {
        end_program(caller, "no memory");
    }
#endif
}
// The routine of that name, ended in that way; of one type, or (level1.inc calls those that need no memory) those of
// mixed.h.
#define OR_END_AS(name, routine)                                             \
    constexpr auto name = [](const Caller& caller, auto... arguments) {      \
        or_end(caller, [&] { tenon::blas::routine(caller, arguments...); }); \
    };
#define OR_END(name) OR_END_AS(name, name<T>)

template <class T>
T value(T scalar) {
    return scalar;
}
template <class R>
Complex<R> value(const Complex<R>* scalar) {
    return *scalar;
}

char trans_of(Option given) { return letter(*given, "NTC"); }
char uplo_of(Option given) { return letter(*given, "UL"); }
char diag_of(Option given) { return letter(*given, "NU"); }
char side_of(Option given) { return letter(*given, "LR"); }

/// A constant of CBLAS at `position`, or a report.
struct Constants {
    const Caller& caller;
    bool valid = true;

    char find(int position, const char* argument, int given, int first, const char* letters) {
        if (!valid) return 0;
        for (int i = 0; letters[i] != 0; ++i)
            if (given == first + i) return letters[i];
        report_constant(caller, position, argument, given);
        valid = false;
        return 0;
    }
    void layout(int given) {
        if (given == kRowMajor || given == kColumnMajor) return;
        report_constant(caller, 1, "layout", given);
        valid = false;
    }
    char trans(int position, const char* argument, int given) { return find(position, argument, given, 111, "NTC"); }
    char uplo(int position, int given) { return find(position, "Uplo", given, 121, "UL"); }
    char diag(int position, int given) { return find(position, "Diag", given, 131, "NU"); }
    char side(int position, int given) { return find(position, "Side", given, 141, "LR"); }
};

/// For a matrix with contiguous rows, which Fortran takes for its transpose: the operation to apply instead. Conjugated
/// but not transposed is 'R'; real numbers do not have it.
template <class T>
char of_transpose(char trans) {
    return trans == 'N' ? 'T' : trans == 'T' ? 'N' : trans == 'C' ? (kComplex<T> ? 'R' : 'N') : trans;
}

}  // namespace
}  // namespace tenon::blas

#define TENON_LETTER s
#define TENON_REAL_LETTER s
#define TENON_COMPLEX 0
namespace tenon::blas::of_s {
using T = float;
using R = float;
using Scalar = T;
#include "blas/level1.inc"
#include "blas/level2.inc"
#include "blas/level3.inc"
}  // namespace tenon::blas::of_s
#undef TENON_LETTER
#undef TENON_REAL_LETTER
#undef TENON_COMPLEX

#define TENON_LETTER d
#define TENON_REAL_LETTER d
#define TENON_COMPLEX 0
namespace tenon::blas::of_d {
using T = double;
using R = double;
using Scalar = T;
#include "blas/level1.inc"
#include "blas/level2.inc"
#include "blas/level3.inc"
}  // namespace tenon::blas::of_d
#undef TENON_LETTER
#undef TENON_REAL_LETTER
#undef TENON_COMPLEX

#define TENON_LETTER c
#define TENON_REAL_LETTER s
#define TENON_COMPLEX 1
namespace tenon::blas::of_c {
using T = Complex<float>;
using R = float;
using Scalar = const T*;
#include "blas/level1.inc"
#include "blas/level2.inc"
#include "blas/level3.inc"
}  // namespace tenon::blas::of_c
#undef TENON_LETTER
#undef TENON_REAL_LETTER
#undef TENON_COMPLEX

#define TENON_LETTER z
#define TENON_REAL_LETTER d
#define TENON_COMPLEX 1
namespace tenon::blas::of_z {
using T = Complex<double>;
using R = double;
using Scalar = const T*;
#include "blas/level1.inc"
#include "blas/level2.inc"
#include "blas/level3.inc"
}  // namespace tenon::blas::of_z
#undef TENON_LETTER
#undef TENON_REAL_LETTER
#undef TENON_COMPLEX

namespace tenon::blas::mixed {
OR_END_AS(gemm_bfloat16, gemm_bfloat16)
OR_END_AS(gemm_int8, gemm_int8)
#include "blas/mixed.inc"
}  // namespace tenon::blas::mixed
