// The triangle T of a block of reflectors, I - V T V^T, from all products of V's columns at once (V^T V); the reference
// takes a matrix-vector product for each.
#include <algorithm>

#include "lapack/products.h"
#include "lapack/reflectors.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

template <class T>
void larft(Stored how, int order, int k, const T* v, int ldv, const T* tau, T* t, std::int64_t ldt) {
    if (order <= 0 || k <= 0) return;
    const int ld = (order + 7) / 8 * 8 + 8;
    Scratch room(static_cast<std::size_t>(std::int64_t{ld} * k + std::int64_t{k} * k + 64) * sizeof(T));
    T* const whole = room.take<T>(std::int64_t{ld} * k);
    T* const g = room.take<T>(std::int64_t{k} * k);
    copy_whole(how, order, k, v, ldv, whole, ld);
    gemm('T', 'N', k, k, order, T(1), whole, ld, whole, ld, T(0), g, k);
    // Forward, T is upper and grows by columns to the right; backward, lower and to the left.
    for (int step = 0; step < k; ++step) {
        const int j = how.forward() ? step : k - 1 - step;
        const int begin = how.forward() ? 0 : j + 1, end = how.forward() ? j : k;
        T* const column = t + j * ldt;
        for (int i = begin; i < end; ++i) {
            T sum = 0;
            if (tau[j] != 0)
                for (int p = how.forward() ? i : begin; p < (how.forward() ? end : i + 1); ++p)
                    sum += t[i + p * ldt] * g[p + std::int64_t{j} * k];
            column[i] = -tau[j] * sum;
        }
        column[j] = tau[j];
    }
}

template <class T>
void larft(Option direct, Option storev, Int order, Int k, const T* v, Int ldv, const T* tau, T* t, Int ldt) {
    larft(Stored{upper(*direct), upper(*storev)}, *order, *k, v, *ldv, tau, t, *ldt);
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(slarft_)(Option direct, Option storev, Int order, Int k, const float* v, Int ldv,
                                            const float* tau, float* t, Int ldt, Length, Length) {
    larft(direct, storev, order, k, v, ldv, tau, t, ldt);
}
TENON_LAPACK_API void TENON_SYMBOL(dlarft_)(Option direct, Option storev, Int order, Int k, const double* v, Int ldv,
                                            const double* tau, double* t, Int ldt, Length, Length) {
    larft(direct, storev, order, k, v, ldv, tau, t, ldt);
}
}

}  // namespace tenon::lapack
