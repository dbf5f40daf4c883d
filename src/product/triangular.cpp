// Triangular products, in blocks of rows (triangular_product.h), and systems: halves of the triangle, a gemm for the
// block between them, and finally a kernel on a dense copy of a few rows.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>

#include "base/caches.h"
#include "base/parallel.h"
#include "base/thread_count.h"
#include "product/dense/blocked.h"
#include "product/dense/scratch.h"
#include "product/dense/triangular.h"
#include "product/float_environment.h"
#include "product/matrices.h"
#include "product/triangular_problem.h"
#include "product/triangular_product.h"
#include "product/triangular_strips.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

/// With this many columns of B for each thread, the columns are divided once, not at each step of the recursion. With
/// the second number there are two shares for each thread, so that one that is held up leaves a share to another.
constexpr std::int64_t kShareColumns = 64, kManyColumns = 2048;

template <class T>
class Recursion {
  public:
    Recursion(const Problem& problem, const dense::TriangularKernels<T>& kernels)
        : p_(problem),
          kernels_(kernels),
          scratch_(static_cast<std::size_t>((kTriangleRows + 1) * kTriangleRows) * sizeof(T)) {}

    void solve(std::int64_t first, std::int64_t n, double alpha) {
        if (in_strips(p_, n)) return Strips<T>(p_, first, n).run(alpha);
        if (n <= kTriangleRows) return solve_rows(first, n, alpha);
        const std::int64_t h = half(n);
        solve(first, h, alpha);
        add_product(p_, first + h, n - h, first, h, -1, alpha);
        solve(first + h, n - h, 1);
    }

  private:
    void solve_rows(std::int64_t first, std::int64_t n, double alpha) {
        constexpr std::int64_t kWidth = kTileBytes / std::int64_t{sizeof(T)},
                               kKernel = kKernelBytes / std::int64_t{sizeof(T)};
        const Matrix b = block(p_.b, first, 0, n, p_.b.columns);
        T* const triangle = reinterpret_cast<T*>(scratch_.data());
        T* const inverses = triangle + kTriangleRows * kTriangleRows;
        load_triangle(p_, first, n, triangle);
        if (!p_.unit) invert_diagonal(triangle, n, inverses);
        if (p_.tile) {
            const FloatEnvironment environment(Subnormals::keep);
            return kernels_.solve({triangle, inverses, static_cast<T*>(b.data), n, b.columns, alpha, p_.unit});
        }
        const std::int64_t tiles = (b.columns + kWidth - 1) / kWidth;
        parallel_for(tiles, std::max<std::int64_t>(1, kTaskWork / (n * n * kWidth / 2)), [&](auto begin, auto end) {
            const FloatEnvironment environment(Subnormals::keep);
            alignas(64) T tile[kTriangleRows * kWidth];
            for (std::int64_t i = begin; i < end; ++i) {
                const Matrix part = block(b, 0, i * kWidth, n, std::min(kWidth, b.columns - i * kWidth));
                const bool direct = b.column_stride == 1 && part.columns % kKernel == 0;
                if (!direct) move_tile<true>(kernels_, part, tile, kWidth, kWidth);
                kernels_.solve({triangle, inverses, tile, n, part.columns, alpha, p_.unit,
                                direct ? static_cast<T*>(part.data) : nullptr, part.row_stride});
                if (!direct) move_tile<false>(kernels_, part, tile, kWidth, kWidth);
            }
        });
    }

    const Problem& p_;
    const dense::TriangularKernels<T>& kernels_;
    dense::Scratch scratch_;
};

void check(const char* name, Side side, const Matrix& a, const Matrix& b) {
    const std::initializer_list<Operand> operands = {{"a", a}, {"b", b}};
    if (a.rows < 0 || b.rows < 0 || b.columns < 0) refuse<ShapeError>(name, "extents are not negative", operands);
    if (side == Side::left && (a.rows != b.rows || a.columns != b.rows))
        refuse<ShapeError>(name, "a (m, m) stands on the left of b (m, n)", operands);
    if (side == Side::right && (a.rows != b.columns || a.columns != b.columns))
        refuse<ShapeError>(name, "a (n, n) stands on the right of b (m, n)", operands);
    if (a.dtype != b.dtype || (a.dtype != DType::float32 && a.dtype != DType::float64))
        refuse<TypeError>(name, "a and b share float32 or float64", operands);
    if (overlaps_itself(b)) refuse<ValueError>(name, "elements of b do not share memory", operands);
}

/// A share of B whose rows are runs between other threads' runs is computed in a copy, up to these bytes of a run and
/// of the share. Otherwise each step would prefetch lines beyond a run, and take them from another thread.
constexpr std::int64_t kRunBytes = 2048, kCopiedBytes = 512 << 10;

template <class F>
void run_apart(const Problem& p, F run) {
    const auto size = static_cast<std::int64_t>(size_of(p.b.dtype)), rows = p.b.rows, bytes = p.b.columns * size;
    if (p.b.column_stride != 1 || bytes > kRunBytes || rows * bytes > kCopiedBytes) return run(p);
    const bool tile = bytes <= kTileBytes;
    const std::int64_t pitch = tile ? kTileBytes : bytes;
    dense::Scratch room(static_cast<std::size_t>(rows * pitch));
    Problem copied = p;
    copied.tile = tile;
    copied.b.data = room.data(), copied.b.row_stride = pitch / size;
    if (tile)
        with_type(p.b.dtype, [&]<class T>(T) {
            fill_beyond(dense::triangular_kernels<T>(), rows, p.b.columns, reinterpret_cast<T*>(room.data()),
                        pitch / size);
        });
    if (!tile && p.b.row_stride < 0) copied.b = reverse_rows(copied.b);
    const auto move = [&](const Matrix& from, const Matrix& to) {
        with_type(p.b.dtype, [&]<class T>(T) {
            const auto& kernels = dense::triangular_kernels<T>();
            kernels.copy(static_cast<T*>(to.data), to.row_stride, static_cast<const T*>(from.data), from.row_stride,
                         rows, from.columns);
        });
    };
    move(p.b, copied.b);
    run(copied);
    move(copied.b, p.b);
}

/// Calls run(problem) for shares of B's columns, each on one thread, or for all of them.
template <class F>
void for_shares(const Problem& p, F run) {
    const std::int64_t columns = p.b.columns, threads = threads_here();
    if (threads == 1 || columns < threads * kShareColumns || p.a.rows * p.a.rows * columns < 4 * kTaskWork)
        return run(p);
    const std::int64_t unit = kKernelBytes / static_cast<std::int64_t>(size_of(p.b.dtype));
    const std::int64_t shares = threads * (columns >= threads * kManyColumns ? 2 : 1);
    const auto begin_of = [&](std::int64_t i) { return i == shares ? columns : columns * i / shares / unit * unit; };
    parallel_for(shares, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            Problem share = p;
            share.b = block(p.b, 0, begin_of(i), p.b.rows, begin_of(i + 1) - begin_of(i));
            if (share.b.columns == 0) continue;
            // Each thread packs A for itself: what another one has written is in another core's cache.
            if (in_strips(share, share.a.rows))
                run(share);
            else
                run_apart(share, run);
        }
    });
}

/// Rows of A from which they are transposed at once: by one thread, and by several, which have to wait for one another.
/// And bytes up to which.
constexpr std::int64_t kTransposedRows = 256, kTransposedShared = 512, kTransposedBytes = 128 << 20;
/// Whether rows of A are adjacent in memory, while products need each by itself and would transpose them at each step.
/// On one thread, products of one chunk transpose no more than would be transposed before, unless L2 is large.
bool wants_turning(const Problem& p) {
    const std::int64_t n = p.a.rows, size = static_cast<std::int64_t>(size_of(p.a.dtype));
    if (!caches().large_l2() && threads_here() == 1 && p.b.columns * size <= dense::kRepeatedChunkBytes) return false;
    return p.b.column_stride == 1 && std::abs(p.a.row_stride) == 1 && std::abs(p.a.column_stride) != 1 &&
           n >= (threads_here() == 1 ? kTransposedRows : kTransposedShared) && n * n * size <= kTransposedBytes;
}

/// What passes in strips in every share of B's columns certainly does so in this one, which may be copied as a tile.
Problem least_share(const Problem& p) {
    Problem share = p;
    const std::int64_t threads = threads_here();
    if (threads == 1) return share;
    share.b.columns /= 2 * threads;
    share.tile = share.b.columns * static_cast<std::int64_t>(size_of(p.b.dtype)) <= kRunBytes;
    return share;
}

/// The columns of row `i` that products of a system read: those before the rows that pass in strips, or before its
/// square on the diagonal.
std::int64_t columns_read(const Problem& share, std::int64_t i) {
    std::int64_t first = 0, n = share.a.rows;
    while (n > kTriangleRows && !in_strips(share, n)) {
        const std::int64_t h = half(n);
        if (i < first + h)
            n = h;
        else
            first += h, n -= h;
    }
    return first;
}

/// Calls run(problem) for shares of B's columns. Of row i of A, products read the first columns_of(i) elements.
template <class T, class F, class G>
void run_shares(const Problem& p, bool has_products, F columns_of, G run) {
    const std::int64_t n = p.a.rows, pitch = (n + 15) / 16 * 16 + 16;
    std::optional<dense::Scratch> room;
    Problem whole = p;
    if (has_products && wants_turning(p)) {
        room.emplace(static_cast<std::size_t>(n * pitch) * sizeof(T));
        whole.blocks = transposed<T>(p, *room, pitch, columns_of);
    }
    for_shares(whole, run);
}

template <class T>
void run_product(const Problem& p, double alpha) {
    if (is_narrow<T>(p)) return with_columns<T>(p, [&](const Problem& copied) { multiply<T>(copied, alpha); });
    run_shares<T>(
        p, p.a.rows > kProductRows, [](std::int64_t i) { return i / kProductRows * kProductRows; },
        [&](const Problem& share) { multiply<T>(share, alpha); });
}

template <class T>
void run_system(const Problem& p, double alpha) {
    const Problem least = least_share(p);
    run_shares<T>(
        p, !in_strips(p, p.a.rows), [&](std::int64_t i) { return columns_read(least, i); },
        [&](const Problem& share) {
            Recursion<T>(share, dense::triangular_kernels<T>()).solve(0, share.a.rows, alpha);
        });
}

/// gemm with alpha = 0 and beta = 0 reads nothing and writes zeros.
void clear(const Matrix& b) { gemm(block(b, 0, 0, b.rows, 0), block(b, 0, 0, 0, b.columns), b, {.alpha = 0}); }

}  // namespace

void trmm(Side side, Triangle triangle, Diagonal diagonal, double alpha, const Matrix& a, const Matrix& b) {
    check("trmm", side, a, b);
    if (b.rows == 0 || b.columns == 0) return;
    if (alpha == 0) return clear(b);
    const Problem p = lower_left(side, triangle, diagonal, a, b);
    with_type(a.dtype, [&]<class T>(T) { run_product<T>(p, alpha); });
}

void trsm(Side side, Triangle triangle, Diagonal diagonal, double alpha, const Matrix& a, const Matrix& b) {
    check("trsm", side, a, b);
    if (b.rows == 0 || b.columns == 0) return;
    if (alpha == 0) return clear(b);
    const Problem p = lower_left(side, triangle, diagonal, a, b);
    with_type(a.dtype, [&]<class T>(T) { run_system<T>(p, alpha); });
}

}  // namespace tenon::product
