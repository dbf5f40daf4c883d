// The triangle T of a block of reflectors, I - V T V^T, from all products of V's columns at once (V^T V); the reference
// takes a matrix-vector product for each.
#include "lapack/or_end.h"
#include "lapack/reflectors.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

template <class T>
void larft(Stored how, int order, int k, const T* v, int ldv, const T* tau, T* t, std::int64_t ldt) {
    if (order <= 0 || k <= 0) return;
    const int ld = whole_ld(order);
    Scratch room(static_cast<std::size_t>(std::int64_t{ld} * k + std::int64_t{k} * k + 64) * sizeof(T));
    T* const whole = room.take<T>(std::int64_t{ld} * k);
    T* const g = room.take<T>(std::int64_t{k} * k);
    copy_whole(how, order, k, v, ldv, whole, ld);
    gemm('T', 'N', k, k, order, T(1), whole, ld, whole, ld, T(0), g, k);
    form_triangle(how.forward(), k, g, k, tau, t, ldt);
}

template <class T>
void larft(Option direct, Option storev, Int order, Int k, const T* v, Int ldv, const T* tau, T* t, Int ldt) {
    larft(Stored{upper(*direct), upper(*storev)}, *order, *k, v, *ldv, tau, t, *ldt);
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(slarft_)(Option direct, Option storev, Int order, Int k, const float* v, Int ldv,
                                            const float* tau, float* t, Int ldt, Length, Length) {
    or_end("slarft", [&] { larft(direct, storev, order, k, v, ldv, tau, t, ldt); });
}
TENON_LAPACK_API void TENON_SYMBOL(dlarft_)(Option direct, Option storev, Int order, Int k, const double* v, Int ldv,
                                            const double* tau, double* t, Int ldt, Length, Length) {
    or_end("dlarft", [&] { larft(direct, storev, order, k, v, ldv, tau, t, ldt); });
}
}

}  // namespace tenon::lapack
