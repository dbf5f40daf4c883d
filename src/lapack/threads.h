// The threads of what src/lapack computes outside BLAS.
#pragma once

#include "base/parallel.h"
#include "lapack/fortran.h"

#if TENON_LAPACK_OWN_NAMES
/// Of libtenon_blas.so, if the process has it.
extern "C" [[gnu::weak]] int tenon_blas_get_num_threads();
#endif

namespace tenon::lapack {

/// parallel_for, with no more threads than BLAS uses.
inline void share(std::int64_t n, std::int64_t grain, FunctionRef<void(std::int64_t, std::int64_t)> body) {
    if (n <= grain) return body(0, n);
#if TENON_LAPACK_OWN_NAMES
    if (tenon_blas_get_num_threads != nullptr) {
        const ThreadLimit limit(tenon_blas_get_num_threads());
        return parallel_for(n, grain, body);
    }
#endif
    parallel_for(n, grain, body);
}

}  // namespace tenon::lapack
