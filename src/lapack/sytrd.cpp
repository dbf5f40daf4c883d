// Reduction of a symmetric matrix to tridiagonal form by panels (Dongarra, Sorensen and Hammarling 1989). A is that
// before the panel minus V W^T + W V^T, whose columns are adjacent in memory of their own, once as v_0, w_0, v_1,
// w_1, ... and once as w_0, v_0, w_1, v_1, ...: what the panel takes from a column is one pass over either. Half of the
// operations are one symv a column.
#include <algorithm>

#include "lapack/or_end.h"
#include "lapack/products.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

#define TENON_DECLARE(letter, T)                                                                                      \
    extern "C" {                                                                                                      \
    void TENON_SYMBOL(letter##symv_)(Option, Int, const T*, const T*, Int, const T*, Int, const T*, T*, Int, Length); \
    void TENON_SYMBOL(letter##syr2k_)(Option, Option, Int, Int, const T*, const T*, Int, const T*, Int, const T*, T*, \
                                      Int, Length, Length);                                                           \
    }                                                                                                                 \
    void symv(char uplo, int n, const T* a, int lda, const T* x, T* y) {                                              \
        const int unit = 1;                                                                                           \
        const T one = 1, zero = 0;                                                                                    \
        TENON_SYMBOL(letter##symv_)(&uplo, &n, &one, a, &lda, x, &unit, &zero, y, &unit, 1);                          \
    }                                                                                                                 \
    void subtract_twice(char uplo, int n, int k, const T* a, const T* b, int ld, T* c, int ldc) {                     \
        const char trans = 'N';                                                                                       \
        const T minus = -1, one = 1;                                                                                  \
        TENON_SYMBOL(letter##syr2k_)(&uplo, &trans, &n, &k, &minus, a, &ld, b, &ld, &one, c, &ldc, 1, 1);             \
    }
TENON_DECLARE(s, float)
TENON_DECLARE(d, double)
#undef TENON_DECLARE

template <class T>
struct Tridiagonal {
    T *d, *e, *tau;
};

/// The panels of one matrix: a lower triangle from its first column on, an upper one from its last column back.
template <class T>
class Panels {
  public:
    Panels(bool lower, int n, int width, T* a, int lda, const Tridiagonal<T>& out)
        : lower_(lower),
          lda_(lda),
          a_(a),
          out_(out),
          room_(static_cast<std::size_t>(4 * width * ld_of(n) + 2 * width + 128) * sizeof(T)),
          vw_{room_.template take<T>(2 * width * ld_of(n)), ld_of(n)},
          wv_{room_.template take<T>(2 * width * ld_of(n)), ld_of(n)},
          factors_(room_.template take<T>(2 * width)) {
        for (int done = 0; done < n; done += width) reduce(lower ? done : 0, n - done, std::min(width, n - done));
    }

  private:
    static std::int64_t ld_of(int n) { return (std::int64_t{n} + 15) / 16 * 16 + 8; }

    /// Reduces `width` of the rows and columns first, ..., first + n - 1 that are left, and updates the others.
    void reduce(int first, int n, int width) {
        for (int p = 0; p < width; ++p) reduce_column(first, n, p);
        subtract(lower_ ? first + width : 0, n - width, width);
    }

    /// V W^T and W V^T together as one product, except for squares on the diagonal.
    void subtract(int first, int n, int width) const {
        constexpr int kSquare = 256;
        for (int b = 0; b < n; b += kSquare) {
            const int order = std::min(kSquare, n - b), at = first + b;
            subtract_twice(lower_ ? 'L' : 'U', order, width, vw_.at(at, 0), vw_.at(at, 1), static_cast<int>(2 * vw_.ld),
                           a_ + at + at * lda_, static_cast<int>(lda_));
            const int from = lower_ ? at + order : first, rows = lower_ ? n - b - order : b;
            if (rows > 0)
                gemm('N', 'T', rows, order, 2 * width, T(-1), vw_.at(from, 0), static_cast<int>(vw_.ld), wv_.at(at, 0),
                     static_cast<int>(wv_.ld), T(1), a_ + from + at * lda_, static_cast<int>(lda_));
        }
    }

    void reduce_column(int first, int n, int p) {
        const int i = lower_ ? first + p : n - 1 - p;  // the column
        const int begin = lower_ ? i : 0, rows = lower_ ? first + n - i : i + 1, k = 2 * p;
        T* const x = a_ + begin + i * lda_;
        kernel_.subtract(rows, 1, k, vw_.at(begin, 0), vw_.ld, wv_.at(i, 0), wv_.ld, 1, x, lda_);
        out_.d[i] = x[lower_ ? 0 : i];
        const int others = rows - 1;
        if (others == 0) return;
        // The reflector that makes the other elements zero, except for the one beside the diagonal.
        const int from = lower_ ? i + 1 : 0, one = lower_ ? 0 : others - 1, which = lower_ ? i : i - 1;
        T* const below = lower_ ? x + 1 : x;
        larfg(others, below + one, lower_ ? below + std::min(1, others - 1) : below, out_.tau + which);
        out_.e[which] = below[one];
        T *const v = vw_.at(from, k), *const w = vw_.at(from, k + 1);
        std::copy_n(below, others, v);
        v[one] = 1;
        find_w(from, others, k, out_.tau[which], v, w);
        std::copy_n(w, others, wv_.at(from, k));
        std::copy_n(v, others, wv_.at(from, k + 1));
    }

    /// w = tau (A v) - tau^2 (v^T A v) / 2 v.
    void find_w(int from, int n, int k, T tau, const T* v, T* w) {
        symv(lower_ ? 'L' : 'U', n, a_ + from + from * lda_, static_cast<int>(lda_), v, w);
        kernel_.products(n, 1, k, wv_.at(from, 0), wv_.ld, v, vw_.ld, factors_, k);
        kernel_.subtract(n, 1, k, vw_.at(from, 0), vw_.ld, factors_, 1, k, w, vw_.ld);
        T dot = 0;
        kernel_.products(n, 1, 1, w, vw_.ld, v, vw_.ld, &dot, 1);
        const T half = tau * (tau * dot) / 2;
        for (int r = 0; r < n; ++r) w[r] = tau * w[r] - half * v[r];
    }

    const Kernels<T>& kernel_ = kernels().of<T>();
    bool lower_;
    std::int64_t lda_;
    T* a_;
    Tridiagonal<T> out_;
    Scratch room_;
    Columns<T> vw_, wv_;
    T* factors_;
};

template <class T>
int sytrd(char uplo, int n, T* a, int lda, const Tridiagonal<T>& out, T* work, int lwork) {
    const char which = upper(uplo);
    const int info = check<T>(
        "SYTRD",
        {{1, which == 'L' || which == 'U'}, {2, n >= 0}, {4, holds_rows(lda, n)}, {9, lwork == -1 || lwork >= 1}});
    if (info != 0) return info;
    // The size that the reference's block needs, though WORK is not used.
    work[0] = static_cast<T>(std::max<std::int64_t>(1, std::int64_t{32} * n));
    if (lwork != -1 && n > 0) Panels<T>(which == 'L', n, n >= 256 ? 32 : 16, a, lda, out);
    return 0;
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(ssytrd_)(Option uplo, Int n, float* a, Int lda, float* d, float* e, float* tau,
                                            float* work, Int lwork, int* info, Length) {
    *info = or_end("ssytrd", [&] { return sytrd<float>(*uplo, *n, a, *lda, {d, e, tau}, work, *lwork); });
}
TENON_LAPACK_API void TENON_SYMBOL(dsytrd_)(Option uplo, Int n, double* a, Int lda, double* d, double* e, double* tau,
                                            double* work, Int lwork, int* info, Length) {
    *info = or_end("dsytrd", [&] { return sytrd<double>(*uplo, *n, a, *lda, {d, e, tau}, work, *lwork); });
}
}

}  // namespace tenon::lapack
