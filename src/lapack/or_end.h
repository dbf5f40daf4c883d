// What every routine runs in: errors that LAPACK cannot report, mainly no scratch memory, and the floating-point
// environment.
#pragma once

#include "lapack/fortran.h"
#include "product/float_environment.h"

#if TENON_LAPACK_OWN_NAMES
#include <cstdio>
#include <cstdlib>
#include <new>

#include "tenon/error.h"
#endif

namespace tenon::lapack {

/// The result of `run`, rounded to nearest and without traps: kernels compute elements that nobody reads, whose
/// divisions by zero a program with traps must not see. An error that is not a wrong argument ends a program that
/// called a routine by LAPACK's own name, since an exception would pass through frames of C and Fortran. Inside
/// libtenon it is an exception like any other.
template <class F>
auto or_end([[maybe_unused]] const char* routine, F run) {
    const product::FloatEnvironment environment(product::Subnormals::keep);
#if TENON_LAPACK_OWN_NAMES
    const auto end = [routine](const char* what) {
        std::fprintf(stderr, "libtenon_lapack: %s: %s\n", routine, what);
        std::abort();
    };
    try {
        return run();
    } catch (const Error& error) {
        end(error.what());
    } catch (const std::bad_alloc&) {
        end("no memory");
    }
    std::abort();
#else
    return run();
#endif
}

}  // namespace tenon::lapack
