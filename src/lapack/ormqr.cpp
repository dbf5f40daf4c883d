// Applies Q of geqrf, gelqf or geqlf by blocks two and four times as wide as the reference's, whose products are bound
// by memory. V of each block is written out once, for its triangle and for two products.
#include "lapack/or_end.h"
#include "lapack/reflectors.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

int block_of(int order) { return order >= 1536 ? 128 : order >= 256 ? 64 : 32; }

/// Q = H_1 ... H_k of reflectors stored by columns (QR), or H_k ... H_1 of those stored by rows (LQ) or backward (QL).
enum class Kind { qr, lq, ql };

template <class T>
void apply(Kind kind, bool left, bool transposed, int m, int n, int k, const T* a, std::int64_t lda, const T* tau, T* c,
           std::int64_t ldc) {
    const Stored how{kind == Kind::ql ? 'B' : 'F', kind == Kind::lq ? 'R' : 'C'};
    const int order = left ? m : n, others = left ? n : m, width = std::min(block_of(order), k);
    const std::int64_t ld = whole_ld(order), ldt = width + 8;
    Scratch room(static_cast<std::size_t>((ld + others + 2 * ldt) * width + 256) * sizeof(T));
    T *const whole = room.take<T>(ld * width), *const w = room.take<T>(std::int64_t{others} * width),
             *const g = room.take<T>(ldt * width), *const t = room.take<T>(ldt * width);
    // Blocks are applied in the order in which they stand beside C.
    const bool ascending = (left == transposed) == (kind == Kind::qr);
    const int blocks = (k + width - 1) / width;
    // For reflectors stored by rows, the product by columns is the transpose.
    const char trans = transposed != (kind == Kind::lq) ? 'T' : 'N';
    for (int step = 0; step < blocks; ++step) {
        const int i = (ascending ? step : blocks - 1 - step) * width, count = std::min(width, k - i);
        // The part of C that the block changes: from row i on, or up to the one of the last reflector.
        const int first = how.forward() ? i : 0, reach = how.forward() ? order - i : order - k + i + count;
        const T* const v = how.forward() ? a + i + i * lda : a + i * lda;
        const int gap = static_cast<int>(ld), gap_t = static_cast<int>(ldt);
        copy_whole(how, reach, count, v, lda, whole, ld);
        gemm('T', 'N', count, count, reach, T(1), whole, gap, whole, gap, T(0), g, gap_t);
        form_triangle(how.forward(), count, g, ldt, tau + i, t, ldt);
        apply_whole(left, how.forward(), trans, left ? reach : m, left ? n : reach, count, whole, gap, t, gap_t,
                    c + (left ? first : first * ldc), static_cast<int>(ldc), w);
    }
}

template <class T, std::size_t N>
int ormqr(Kind kind, const char (&name)[N], char side, char trans, int m, int n, int k, const T* a, int lda,
          const T* tau, T* c, int ldc, T* work, int lwork) {
    side = upper(side), trans = upper(trans);
    const bool left = side == 'L';
    const int order = left ? m : n, others = left ? n : m;
    const int info = check<T>(name, {{1, left || side == 'R'},
                                     {2, trans == 'N' || trans == 'T'},
                                     {3, m >= 0},
                                     {4, n >= 0},
                                     {5, k >= 0 && k <= order},
                                     {7, holds_rows(lda, kind == Kind::lq ? k : order)},
                                     {10, holds_rows(ldc, m)},
                                     {12, lwork == -1 || lwork >= std::max(1, others)}});
    if (info != 0) return info;
    // The size that the reference's block needs, though WORK is not used.
    const bool nothing = m == 0 || n == 0 || k == 0;
    work[0] = static_cast<T>(nothing ? 1 : 32 * std::int64_t{std::max(1, others)} + 65 * 64);
    if (lwork != -1 && !nothing) apply(kind, left, trans == 'T', m, n, k, a, lda, tau, c, ldc);
    return 0;
}

}  // namespace

extern "C" {
#define TENON_DEFINE(letter, name, NAME, kind, T)                                                                   \
    TENON_LAPACK_API void TENON_SYMBOL(letter##name##_)(Option side, Option trans, Int m, Int n, Int k, const T* a, \
                                                        Int lda, const T* tau, T* c, Int ldc, T* work, Int lwork,   \
                                                        int* info, Length, Length) {                                \
        *info = or_end(#letter #name, [&] {                                                                         \
            return ormqr(Kind::kind, NAME, *side, *trans, *m, *n, *k, a, *lda, tau, c, *ldc, work, *lwork);         \
        });                                                                                                         \
    }
TENON_DEFINE(s, ormqr, "ORMQR", qr, float)
TENON_DEFINE(d, ormqr, "ORMQR", qr, double)
TENON_DEFINE(s, ormlq, "ORMLQ", lq, float)
TENON_DEFINE(d, ormlq, "ORMLQ", lq, double)
TENON_DEFINE(s, ormql, "ORMQL", ql, float)
TENON_DEFINE(d, ormql, "ORMQL", ql, double)
#undef TENON_DEFINE
}

}  // namespace tenon::lapack
