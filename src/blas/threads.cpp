// The number of threads, for programs that have only this library; TENON_NUM_THREADS sets it too.
#include <algorithm>

#include "blas/export.h"
#include "tenon/threads.h"

extern "C" {

/// From the next call on, for the whole process; 0 or less: as many as the process may use.
TENON_BLAS_API void tenon_blas_set_num_threads(int n) { tenon::set_num_threads(std::clamp(n, 0, tenon::kMaxThreads)); }
TENON_BLAS_API int tenon_blas_get_num_threads() { return tenon::num_threads(); }
}
