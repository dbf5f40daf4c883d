// The threads of what src/lapack computes outside BLAS.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "lapack/fortran.h"

#if TENON_LAPACK_OWN_NAMES
/// Of libtenon_blas.so, if the process has it.
extern "C" [[gnu::weak]] void tenon_blas_parallel_for(std::int64_t n, std::int64_t grain, void* object,
                                                      void (*piece)(void*, std::int64_t, std::int64_t));
#endif

namespace tenon::lapack {

/// parallel_for, on the threads of BLAS: those of another pool would take CPUs from them.
inline void share(std::int64_t n, std::int64_t grain, FunctionRef<void(std::int64_t, std::int64_t)> body) {
    if (n <= grain) return body(0, n);
#if TENON_LAPACK_OWN_NAMES
    if (tenon_blas_parallel_for != nullptr)
        return tenon_blas_parallel_for(n, grain, &body, [](void* object, std::int64_t begin, std::int64_t end) {
            (*static_cast<decltype(body)*>(object))(begin, end);
        });
#endif
    parallel_for(n, grain, body);
}

}  // namespace tenon::lapack
