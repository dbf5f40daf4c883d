// The threads, for programs that have only this library, and for libtenon_lapack.so. TENON_NUM_THREADS sets their
// number too.
#include <algorithm>
#include <cstdint>

#include "base/parallel.h"
#include "blas/export.h"
#include "tenon/threads.h"

extern "C" {

/// From the next call on, for the whole process; 0 or less: as many as the process may use.
TENON_BLAS_API void tenon_blas_set_num_threads(int n) { tenon::set_num_threads(std::clamp(n, 0, tenon::kMaxThreads)); }
TENON_BLAS_API int tenon_blas_get_num_threads() { return tenon::num_threads(); }

/// parallel_for (base/parallel.h) with piece(object, begin, end), for libtenon_lapack.so alone.
TENON_BLAS_API void tenon_blas_parallel_for(std::int64_t n, std::int64_t grain, void* object,
                                            void (*piece)(void*, std::int64_t, std::int64_t)) {
    tenon::parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) { piece(object, begin, end); });
}
}
