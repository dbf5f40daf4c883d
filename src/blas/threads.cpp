// How many threads the library uses, for programs that know it by this name alone. TENON_NUM_THREADS says it too.
#include <algorithm>

#include "blas/export.h"
#include "tenon/threads.h"

extern "C" {

/// From the next call on, for the whole process; 0 or less: as many as the process may use.
TENON_BLAS_API void tenon_blas_set_num_threads(int n) { tenon::set_num_threads(std::clamp(n, 0, tenon::kMaxThreads)); }
TENON_BLAS_API int tenon_blas_get_num_threads() { return tenon::num_threads(); }
}
