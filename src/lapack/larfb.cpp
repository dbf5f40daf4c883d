// A block of reflectors I - V T V^T, or its transpose, applied: with V whole in memory of its own, two products, where
// the reference has five and copies of C's parts.
#include "lapack/or_end.h"
#include "lapack/reflectors.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

template <class T>
void larfb(char side, char trans, Stored how, int m, int n, int k, const T* v, int ldv, const T* t, int ldt, T* c,
           int ldc) {
    if (m <= 0 || n <= 0 || k <= 0) return;
    const bool left = side == 'L';
    const int order = left ? m : n, others = left ? n : m, ld = whole_ld(order);
    Scratch room(static_cast<std::size_t>(std::int64_t{ld} * k + std::int64_t{others} * k + 64) * sizeof(T));
    T* const whole = room.take<T>(std::int64_t{ld} * k);
    T* const w = room.take<T>(std::int64_t{others} * k);
    copy_whole(how, order, k, v, ldv, whole, ld);
    apply_whole(left, how.forward(), trans, m, n, k, whole, ld, t, ldt, c, ldc, w);
}

template <class T>
void larfb(Option side, Option trans, Option direct, Option storev, Int m, Int n, Int k, const T* v, Int ldv,
           const T* t, Int ldt, T* c, Int ldc) {
    larfb(upper(*side), upper(*trans), {upper(*direct), upper(*storev)}, *m, *n, *k, v, *ldv, t, *ldt, c, *ldc);
}

}  // namespace

// WORK is not used.
extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(slarfb_)(Option side, Option trans, Option direct, Option storev, Int m, Int n,
                                            Int k, const float* v, Int ldv, const float* t, Int ldt, float* c, Int ldc,
                                            float*, Int, Length, Length, Length, Length) {
    or_end("slarfb", [&] { larfb(side, trans, direct, storev, m, n, k, v, ldv, t, ldt, c, ldc); });
}
TENON_LAPACK_API void TENON_SYMBOL(dlarfb_)(Option side, Option trans, Option direct, Option storev, Int m, Int n,
                                            Int k, const double* v, Int ldv, const double* t, Int ldt, double* c,
                                            Int ldc, double*, Int, Length, Length, Length, Length) {
    or_end("dlarfb", [&] { larfb(side, trans, direct, storev, m, n, k, v, ldv, t, ldt, c, ldc); });
}
}

}  // namespace tenon::lapack
