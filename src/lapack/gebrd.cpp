// Reduction to bidiagonal form by panels (Dongarra, Sorensen and Hammarling 1989), of a matrix that has no fewer rows
// than columns. Each column needs two products with the rest of the matrix, A^T u and then A v. Both are computed in
// one pass (Howell, Demmel, Fulton, Hammarling and Marmol 2008): except for its first element, v is a multiple of a row
// that becomes known element by element with the first product. So memory is read once, not twice.
//
// A is that before the panel minus L R^T, with L's columns u_0, x_0, u_1, x_1, ... and R's y_0, v_0, y_1, v_1, ..., in
// memory of their own.
#include <algorithm>
#include <cmath>

#include "lapack/or_end.h"
#include "lapack/products.h"
#include "lapack/threads.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {
namespace {

using product::dense::Scratch;

// The reference's routines, for matrices with more columns than rows.
#define TENON_DECLARE(letter, T)                                                                                     \
    extern "C" {                                                                                                     \
    void TENON_SYMBOL(letter##labrd_)(Int, Int, Int, T*, Int, T*, T*, T*, T*, T*, Int, T*, Int);                     \
    void TENON_SYMBOL(letter##gebd2_)(Int, Int, T*, Int, T*, T*, T*, T*, T*, int*);                                  \
    }                                                                                                                \
    void labrd(int m, int n, int width, T* a, int lda, T* d, T* e, T* tauq, T* taup, T* x, int ldx, T* y, int ldy) { \
        TENON_SYMBOL(letter##labrd_)(&m, &n, &width, a, &lda, d, e, tauq, taup, x, &ldx, y, &ldy);                   \
    }                                                                                                                \
    void gebd2(int m, int n, T* a, int lda, T* d, T* e, T* tauq, T* taup, T* work) {                                 \
        int info = 0;                                                                                                \
        TENON_SYMBOL(letter##gebd2_)(&m, &n, a, &lda, d, e, tauq, taup, work, &info);                                \
    }
TENON_DECLARE(s, float)
TENON_DECLARE(d, double)
#undef TENON_DECLARE

/// Columns of a panel.
int width_of(int n) { return n >= 256 ? 32 : 16; }
/// Shares of a pass, each with its own result: their number depends on the order alone, not on threads.
constexpr int kShares = 8, kSharedOrder = 512;
int shares_of(int n) { return n >= kSharedOrder ? kShares : 1; }

std::int64_t padded(std::int64_t n) { return (n + 15) / 16 * 16; }

template <class T>
struct Bidiagonal {
    T *d, *e, *tauq, *taup;
};

template <class T>
class Panel {
  public:
    Panel(int m, int n, int width)
        : m_(m),
          n_(n),
          room_(static_cast<std::size_t>(2 * width * (padded(m) + padded(n) + 16) + 8 * width +
                                         (shares_of(n)) * padded(m) + 3 * padded(n) + 512) *
                sizeof(T)),
          left_{room_.template take<T>(2 * width * (padded(m) + 8)), padded(m) + 8},
          right_{room_.template take<T>(2 * width * (padded(n) + 8)), padded(n) + 8},
          factors_(room_.template take<T>(4 * width + 2)),
          row_(room_.template take<T>(3 * padded(n))),
          sums_(room_.template take<T>(shares_of(n) * padded(m))) {}

    /// The first `width` columns and rows of A (m, n), and then the rest.
    void reduce(int m, int n, int width, T* a, std::int64_t lda, const Bidiagonal<T>& out) {
        m_ = m, n_ = n;
        for (int i = 0; i < width; ++i) {
            reduce_column(i, a, lda, out);
            if (i + 1 < n)
                reduce_row(i, a, lda, out);
            else
                out.taup[i] = 0;
        }
        if (m > width && n > width)
            gemm('N', 'T', m - width, n - width, 2 * width, T(-1), left_.at(width, 0), static_cast<int>(left_.ld),
                 right_.at(width, 0), static_cast<int>(right_.ld), T(1), a + width + width * lda,
                 static_cast<int>(lda));
    }

  private:
    void reduce_column(int i, T* a, std::int64_t lda, const Bidiagonal<T>& out) {
        T* const x = a + i + i * lda;
        const int rows = m_ - i;
        kernel_.subtract(rows, 1, 2 * i, left_.at(i, 0), left_.ld, right_.at(i, 0), right_.ld, 1, x, lda);
        larfg(rows, x, x + std::min(1, rows - 1), out.tauq + i);
        out.d[i] = x[0];
        T* const u = left_.at(i, 2 * i);
        std::copy_n(x, rows, u);
        u[0] = 1;
    }

    void reduce_row(int i, T* a, std::int64_t lda, const Bidiagonal<T>& out) {
        const int rows = m_ - i, below = rows - 1, others = n_ - i - 1, k = 2 * i;
        const std::int64_t step = padded(n_);
        const T* const u = left_.at(i, k);
        T *const y = right_.at(i + 1, k), *const v = right_.at(i + 1, k + 1), *const row = a + i + (i + 1) * lda;
        // What the panel takes from A^T u, negative, and the row without y.
        T *const taken = row_, *const known = row_ + step, *const t = row_ + 2 * step;
        kernel_.products(rows, 1, k, left_.at(i, 0), left_.ld, u, left_.ld, factors_, k);
        for (int p = 0; p < k; ++p) factors_[k + p] = *left_.at(i, p);
        std::fill_n(taken, others, T(0));
        for (int j = 0; j < others; ++j) known[j] = row[j * lda];
        kernel_.subtract(others, 2, k, right_.at(i + 1, 0), right_.ld, factors_, 1, k, taken, step);
        pass({rows, others, row, lda, u, out.tauq[i], taken, known, y, t, sums_});
        // The sums for the elements below the row.
        T* const product = sums_ + 1;
        const T alpha = t[0];
        larfg(others, t, t + std::min(1, others - 1), out.taup + i);
        const T beta = out.e[i] = t[0], tau = out.taup[i];
        for (int j = 1; j < others; ++j) row[j * lda] = t[j];
        row[0] = beta;
        t[0] = 1;
        std::copy_n(t, others, v);
        T* const x = left_.at(i + 1, k + 1);
        if (below == 0) return;
        if (tau == 0) {
            std::fill_n(x, below, T(0));
            return;
        }
        multiply(below, others, row + 1, lda, v, alpha, beta, product, x);
        kernel_.products(others, 1, k + 1, right_.at(i + 1, 0), right_.ld, v, right_.ld, factors_, k + 1);
        kernel_.subtract(below, 1, k + 1, left_.at(i + 1, 0), left_.ld, factors_, 1, k + 1, x, left_.ld);
        for (int r = 0; r < below; ++r) x[r] *= tau;
    }

    /// x = A v from A t, where t is v (alpha - beta) except for its first element, alpha. If products of such numbers
    /// underflow or overflow, x is computed from v.
    void multiply(int rows, int columns, const T* a, std::int64_t lda, const T* v, T alpha, T beta, const T* product,
                  T* x) const {
        constexpr T kSmall = sizeof(T) == 4 ? T(0x1p-63) : T(0x1p-511);  // its square is still a normal number
        if (std::abs(beta) >= kSmall) {
            const T by = 1 / (alpha - beta);
            T sum = 0;
            for (int r = 0; r < rows; ++r) {
                x[r] = (product[r] - beta * a[r]) * by;
                sum += x[r] * T(0);
            }
            if (sum == 0) return;
        }
        std::fill_n(x, rows, T(0));
        kernel_.subtract(rows, 1, columns, a, lda, v, 1, columns, x, left_.ld);
        for (int r = 0; r < rows; ++r) x[r] = -x[r];
    }

    void pass(const BidiagonalPass<T>& all) const {
        const int shares = shares_of(n_);
        const std::int64_t step = padded(m_);
        share(shares, 1, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t s = begin; s < end; ++s) {
                const std::int64_t first = all.n * s / shares / 4 * 4,
                                   last = s + 1 == shares ? all.n : all.n * (s + 1) / shares / 4 * 4;
                BidiagonalPass<T> some = all;
                some.n = last - first, some.a += first * all.lda;
                some.taken += first, some.known += first, some.y += first, some.t += first;
                some.sums = sums_ + s * step;
                kernel_.bidiagonal(some);
            }
        });
        for (int s = 1; s < shares; ++s)
            for (std::int64_t r = 0; r < all.m; ++r) sums_[r] += sums_[s * step + r];
    }

    const Kernels<T>& kernel_ = kernels().of<T>();
    int m_, n_;
    Scratch room_;
    Columns<T> left_, right_;
    T *factors_, *row_, *sums_;
};

/// More columns than rows: computed as in the reference.
template <class T>
void reduce_wide(int m, int n, T* a, int lda, const Bidiagonal<T>& out) {
    constexpr int kWidth = 32, kLast = 128;
    const std::int64_t step = lda;
    Scratch room(static_cast<std::size_t>(kWidth * (std::int64_t{m} + n) + 256) * sizeof(T));
    T *const x = room.take<T>(kWidth * std::int64_t{m}), *const y = room.take<T>(kWidth * std::int64_t{n});
    int i = 0;
    for (; m - i > kLast; i += kWidth) {
        T* const corner = a + i + i * step;
        const int rows = m - i, columns = n - i;
        labrd(rows, columns, kWidth, corner, lda, out.d + i, out.e + i, out.tauq + i, out.taup + i, x, m, y, n);
        T* const rest = corner + kWidth + kWidth * step;
        gemm('N', 'T', rows - kWidth, columns - kWidth, kWidth, T(-1), corner + kWidth, lda, y + kWidth, n, T(1), rest,
             lda);
        gemm('N', 'N', rows - kWidth, columns - kWidth, kWidth, T(-1), x + kWidth, m, corner + kWidth * step, lda, T(1),
             rest, lda);
        for (int j = 0; j < kWidth; ++j) {
            corner[j + j * step] = out.d[i + j];
            corner[j + 1 + j * step] = out.e[i + j];
        }
    }
    gebd2(m - i, n - i, a + i + i * step, lda, out.d + i, out.e + i, out.tauq + i, out.taup + i, x);
}

template <class T>
int gebrd(int m, int n, T* a, int lda, const Bidiagonal<T>& out, T* work, int lwork) {
    const int most = std::max({1, m, n}), square = std::min(m, n);
    const int info = check<T>(
        "GEBRD",
        {{1, m >= 0}, {2, n >= 0}, {4, holds_rows(lda, m)}, {10, lwork == -1 || lwork >= (square == 0 ? 1 : most)}});
    if (info != 0) return info;
    // The size that the reference's block needs, though WORK is not used.
    work[0] = static_cast<T>(square == 0 ? 1 : 32 * (std::int64_t{m} + n));
    if (lwork == -1 || square == 0) return 0;
    if (m < n) {
        reduce_wide(m, n, a, lda, out);
        return 0;
    }
    const int width = width_of(n);
    const std::int64_t step = lda;
    Panel<T> panel(m, n, width);
    for (int i = 0; i < n; i += width)
        panel.reduce(m - i, n - i, std::min(width, n - i), a + i + i * step, step,
                     {out.d + i, out.e + i, out.tauq + i, out.taup + i});
    return 0;
}

}  // namespace

extern "C" {
TENON_LAPACK_API void TENON_SYMBOL(sgebrd_)(Int m, Int n, float* a, Int lda, float* d, float* e, float* tauq,
                                            float* taup, float* work, Int lwork, int* info) {
    *info = or_end("sgebrd", [&] { return gebrd<float>(*m, *n, a, *lda, {d, e, tauq, taup}, work, *lwork); });
}
TENON_LAPACK_API void TENON_SYMBOL(dgebrd_)(Int m, Int n, double* a, Int lda, double* d, double* e, double* tauq,
                                            double* taup, double* work, Int lwork, int* info) {
    *info = or_end("dgebrd", [&] { return gebrd<double>(*m, *n, a, *lda, {d, e, tauq, taup}, work, *lwork); });
}
}

}  // namespace tenon::lapack
