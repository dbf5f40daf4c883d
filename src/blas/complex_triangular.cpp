// Triangular products and systems of complex matrices: halves, as in the real systems (tenon/product.h), down to
// blocks of 64 rows, which are computed on tiles of B by multiply-adds of whole rows.
#include <algorithm>

#include "base/parallel.h"
#include "blas/complex.h"
#include "blas/vectors.h"

namespace tenon::blas {
namespace {

constexpr std::int64_t kRows = 64, kWidth = 64;

/// Rows and columns of A in the order in which they are needed, and the rows of B that belong to them.
template <class R>
struct Tile {
    using T = Complex<R>;
    alignas(64) T triangle[kRows * kRows];
    alignas(64) T b[kRows * kWidth];
};

template <class R>
class Triangular {
  public:
    using T = Complex<R>;

    Triangular(bool lower, bool unit, const MatrixView<const T>& a, const MatrixView<T>& b)
        : lower_(lower), unit_(unit), a_(a), b_(b), v_(vectors().of<T>()) {}

    void multiply_rows(std::int64_t first, std::int64_t n, T alpha) const {
        if (n <= kRows)
            return for_tiles(first, n,
                             [&](T* triangle, T* tile, std::int64_t w) { multiply_tile(triangle, tile, n, w, alpha); });
        const Halves part = halves(first, n);
        multiply_rows(part.later, part.later_rows, alpha);
        add(part, alpha, of<T>(1));
        multiply_rows(part.sooner, part.sooner_rows, alpha);
    }

    void solve_rows(std::int64_t first, std::int64_t n, T alpha) const {
        if (n <= kRows)
            return for_tiles(first, n,
                             [&](T* triangle, T* tile, std::int64_t w) { solve_tile(triangle, tile, n, w, alpha); });
        const Halves part = halves(first, n);
        solve_rows(part.sooner, part.sooner_rows, alpha);
        add(part, of<T>(-1), alpha);
        solve_rows(part.later, part.later_rows, of<T>(1));
    }

  private:
    /// The half of the rows that depends on no other rows, and the half that depends on it.
    struct Halves {
        std::int64_t sooner, sooner_rows, later, later_rows;
    };
    Halves halves(std::int64_t first, std::int64_t n) const {
        const std::int64_t h = (n / 2 + kRows - 1) / kRows * kRows;
        if (lower_) return {first, h, first + h, n - h};
        return {first + n - h, h, first, n - h};
    }

    void add(const Halves& part, T alpha, T beta) const {
        const std::int64_t w = b_.columns;
        const MatrixView<T> above = b_.block(part.sooner, 0, part.sooner_rows, w);
        multiply<R>(alpha, a_.block(part.later, part.sooner, part.later_rows, part.sooner_rows),
                    {above.data, above.rows, above.columns, above.row_stride, above.column_stride}, beta,
                    b_.block(part.later, 0, part.later_rows, w));
    }

    /// Row or column i of n, counted in the order of the solution.
    std::int64_t nth(std::int64_t i, std::int64_t n) const { return lower_ ? i : n - 1 - i; }

    template <class F>
    void for_tiles(std::int64_t first, std::int64_t n, F f) const {
        const std::int64_t tiles = (b_.columns + kWidth - 1) / kWidth;
        const std::int64_t grain = std::max<std::int64_t>(1, (1 << 16) / (n * n * kWidth / 2 + 1));
        parallel_for(tiles, grain, [&](std::int64_t begin, std::int64_t end) {
            Tile<R> room;
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t j = 0; j < (unit_ ? i : i + 1); ++j)
                    room.triangle[i * kRows + j] = conj_if(a_.conjugate, a_.at(first + nth(i, n), first + nth(j, n)));
            for (std::int64_t t = begin; t < end; ++t) {
                const std::int64_t w = std::min(kWidth, b_.columns - t * kWidth);
                const MatrixView<T> part = b_.block(first, t * kWidth, n, w);
                move_tile<true>(part, room.b);
                f(room.triangle, room.b, w);
                move_tile<false>(part, room.b);
            }
        });
    }

    template <bool kIn>
    void move_tile(const MatrixView<T>& b, T* tile) const {
        const auto move = [&](std::int64_t i, std::int64_t j) {
            T &here = tile[i * kWidth + j], &there = b.at(nth(i, b.rows), j);
            if constexpr (kIn)
                here = there;
            else
                there = here;
        };
        if (b.column_stride == 1)
            for (std::int64_t i = 0; i < b.rows; ++i)
                for (std::int64_t j = 0; j < b.columns; ++j) move(i, j);
        else
            for (std::int64_t j = 0; j < b.columns; ++j)
                for (std::int64_t i = 0; i < b.rows; ++i) move(i, j);
    }

    void multiply_tile(const T* triangle, T* tile, std::int64_t n, std::int64_t w, T alpha) const {
        for (std::int64_t i = n - 1; i >= 0; --i) {
            T* row = tile + i * kWidth;
            if (!unit_) v_.scal(w, triangle[i * kRows + i], row, 1);
            for (std::int64_t k = 0; k < i; ++k) v_.axpy(w, triangle[i * kRows + k], tile + k * kWidth, 1, row, 1);
            if (!(alpha == of<T>(1))) v_.scal(w, alpha, row, 1);
        }
    }

    void solve_tile(const T* triangle, T* tile, std::int64_t n, std::int64_t w, T alpha) const {
        for (std::int64_t i = 0; i < n; ++i) {
            T* row = tile + i * kWidth;
            if (!(alpha == of<T>(1))) v_.scal(w, alpha, row, 1);
            for (std::int64_t k = 0; k < i; ++k) v_.axpy(w, -triangle[i * kRows + k], tile + k * kWidth, 1, row, 1);
            if (unit_) continue;
            const T diagonal = triangle[i * kRows + i];
            for (std::int64_t j = 0; j < w; ++j) row[j] = row[j] / diagonal;
        }
    }

    bool lower_, unit_;
    const MatrixView<const T>& a_;
    const MatrixView<T>& b_;
    const Vectors<T>& v_;
};

}  // namespace

template <class R>
void multiply_triangular(bool lower, bool unit, Complex<R> alpha, const MatrixView<const Complex<R>>& a,
                         const MatrixView<Complex<R>>& b) {
    Triangular<R>(lower, unit, a, b).multiply_rows(0, b.rows, alpha);
}

template <class R>
void solve_triangular(bool lower, bool unit, Complex<R> alpha, const MatrixView<const Complex<R>>& a,
                      const MatrixView<Complex<R>>& b) {
    Triangular<R>(lower, unit, a, b).solve_rows(0, b.rows, alpha);
}

#define TENON_INSTANTIATE(R)                                                                       \
    template void multiply_triangular(bool, bool, Complex<R>, const MatrixView<const Complex<R>>&, \
                                      const MatrixView<Complex<R>>&);                              \
    template void solve_triangular(bool, bool, Complex<R>, const MatrixView<const Complex<R>>&,    \
                                   const MatrixView<Complex<R>>&);
TENON_INSTANTIATE(float)
TENON_INSTANTIATE(double)
#undef TENON_INSTANTIATE

}  // namespace tenon::blas
