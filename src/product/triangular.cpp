// Triangular products and systems: halves of the triangle, a gemm for the block between them, and at the end a kernel
// on a dense copy of a few rows.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <optional>

#include "base/by_isa.h"
#include "base/parallel.h"
#include "base/thread_count.h"
#include "product/dense/blocked.h"
#include "product/dense/scratch.h"
#include "product/dense/triangular.h"
#include "product/float_environment.h"
#include "product/matrices.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using dense::kKernelBytes;
using dense::kTileBytes;
using dense::kTriangleRows;

/// Multiply-adds below which a tile is not worth handing to a thread.
constexpr std::int64_t kTaskWork = 1 << 18;
/// Columns of B for each thread from which they are shared out once, and not at each step of the recursion; from twice
/// as many in each of two shares, so that a thread that is held up leaves one to another.
constexpr std::int64_t kShareColumns = 64, kManyColumns = 2048;

template <class T>
const dense::TriangularKernels<T>& kernels_of() {
    using namespace dense;
    const IsaTriangular& kernels = TENON_BY_ISA(isa(), kTriangular);
    if constexpr (sizeof(T) == 4)
        return kernels.f32;
    else
        return kernels.f64;
}

/// Calls f with a number of B's type.
template <class F>
void with_type(DType t, F f) {
    if (t == DType::float32)
        f(float{});
    else
        f(double{});
}

Matrix reverse_rows(const Matrix& m) {
    Matrix r = block(m, m.rows - 1, 0, m.rows, m.columns);
    r.row_stride = -m.row_stride;
    return r;
}
Matrix reverse(const Matrix& m) { return reverse_rows(reverse_rows(m).transpose()).transpose(); }

/// A lower triangle on the left of B; `reversed` says that rows and columns are counted from the last, `tile` that B is
/// a tile, whatever its number of rows. Off the diagonal's squares of kTriangleRows, A is read from `blocks`.
struct Problem {
    Matrix a, b;
    bool unit, reversed, tile = false;
    Matrix blocks = a;
};

Problem lower_left(Side side, Triangle triangle, Diagonal diagonal, const Matrix& a, const Matrix& b) {
    // The transpose of a lower triangle is an upper one.
    const bool reversed = (triangle == Triangle::upper) == (side == Side::left);
    Problem p{a, b, diagonal == Diagonal::unit, reversed};
    if (side == Side::right) p.a = a.transpose(), p.b = b.transpose();
    if (reversed) p.a = reverse(p.a), p.b = reverse_rows(p.b);
    p.blocks = p.a;
    return p;
}

std::int64_t half(std::int64_t n) { return (n / 2 + kTriangleRows - 1) / kTriangleRows * kTriangleRows; }

/// B2 = alpha A21 B1 + beta B2, for `h` rows of B1 from `first` on and the `rest` below. Rows and columns are counted
/// from the first again: kernels like strides of 1 better than of -1.
void add_below(const Problem& p, std::int64_t first, std::int64_t h, std::int64_t rest, double alpha, double beta) {
    Matrix a = block(p.blocks, first + h, first, rest, h), above = block(p.b, first, 0, h, p.b.columns),
           below = block(p.b, first + h, 0, rest, p.b.columns);
    if (p.reversed) a = reverse(a), above = reverse_rows(above), below = reverse_rows(below);
    gemm(a, above, below, {.alpha = alpha, .beta = beta});
}

/// Rows of a matrix, one after the other, by the packing of products.
template <class T>
void pack_across(T* to, std::int64_t step, const dense::PackSource& source) {
    const dense::IsaKernels& kernels = dense::kernels_of(isa());
    if constexpr (sizeof(T) == 4)
        kernels.u32.across[0](reinterpret_cast<std::uint32_t*>(to), step, source);
    else
        kernels.u64.across[0](reinterpret_cast<std::uint64_t*>(to), step, source);
}

/// Calls f(i, j, n) for runs of elements (i, j), ..., (i, j + n - 1) that cover B: so few columns at a time that their
/// cache lines stay until the next rows have used them too.
template <class F>
void for_each_run(const Matrix& b, F f) {
    constexpr std::int64_t kFew = 8;
    for (std::int64_t j = 0; j < b.columns; j += kFew)
        for (std::int64_t i = 0; i < b.rows; ++i) f(i, j, std::min(kFew, b.columns - j));
}

/// Rows of B <-> a tile. What a tile has beyond B's columns is zeros.
template <bool kIn, class T>
void move_tile(const dense::TriangularKernels<T>& kernels, const Matrix& b, T* tile) {
    constexpr std::int64_t kStep = kTileBytes / std::int64_t{sizeof(T)};
    if (kIn && b.columns < kStep) std::fill_n(tile, b.rows * kStep, T{0});
    T* const data = static_cast<T*>(b.data);
    if (b.column_stride != 1 && std::abs(b.row_stride) == 1) {
        const bool down = b.row_stride < 0;
        const auto move = kIn ? kernels.load : kernels.store;
        return move(tile, down ? data - (b.rows - 1) : data, b.rows, b.columns, b.column_stride, down);
    }
    if (b.column_stride == 1) {
        for (std::int64_t i = 0; i < b.rows; ++i) {
            T *there = data + i * b.row_stride, *here = tile + i * kStep;
            std::copy_n(kIn ? there : here, b.columns, kIn ? here : there);
        }
        return;
    }
    for_each_run(b, [&](std::int64_t i, std::int64_t j, std::int64_t n) {
        T *there = data + i * b.row_stride + j * b.column_stride, *here = tile + i * kStep + j;
        for (std::int64_t e = 0; e < n; ++e)
            if constexpr (kIn)
                here[e] = there[e * b.column_stride];
            else
                there[e * b.column_stride] = here[e];
    });
}

template <class T>
class Recursion {
  public:
    Recursion(const Problem& problem, const dense::TriangularKernels<T>& kernels)
        : p_(problem),
          kernels_(kernels),
          scratch_(static_cast<std::size_t>((kTriangleRows + 1) * kTriangleRows) * sizeof(T)) {}

    /// The order of the steps is the order in which rows may be overwritten.
    void multiply(std::int64_t first, std::int64_t n, double alpha) {
        if (n <= kTriangleRows) return run_kernel(kernels_.multiply, first, n, alpha);
        const std::int64_t h = half(n);
        multiply(first + h, n - h, alpha);
        add_below(p_, first, h, n - h, alpha, 1);
        multiply(first, h, alpha);
    }

    void solve(std::int64_t first, std::int64_t n, double alpha) {
        if (n <= kTriangleRows) return run_kernel(kernels_.solve, first, n, alpha);
        const std::int64_t h = half(n);
        solve(first, h, alpha);
        add_below(p_, first, h, n - h, -1, alpha);
        solve(first + h, n - h, 1);
    }

  private:
    /// The triangle alone: nothing above the diagonal is read, nor the diagonal where it is of ones. Element by element
    /// only squares on the diagonal.
    void load_triangle(std::int64_t first, std::int64_t n) {
        constexpr std::int64_t kSquare = 16;
        static_assert(kTriangleRows % kSquare == 0);
        const Matrix a = block(p_.a, first, first, n, n);
        std::int64_t rows[kSquare], columns[kTriangleRows];
        for (std::int64_t i = 0; i < kSquare; ++i) rows[i] = i * a.row_stride;
        for (std::int64_t j = 0; j < n; ++j) columns[j] = j * a.column_stride;
        for (std::int64_t i = 0; i < n; i += kSquare) {
            T* to = reinterpret_cast<T*>(scratch_.data()) + i * kTriangleRows;
            const T* from = static_cast<const T*>(a.data) + i * a.row_stride;
            const std::int64_t count = std::min(kSquare, n - i);
            if (i > 0) pack_across(to, kTriangleRows, {from, columns, rows, i, count});
            for (std::int64_t r = 0; r < count; ++r, to += kTriangleRows, from += a.row_stride)
                for (std::int64_t j = i; j < i + r + (p_.unit ? 0 : 1); ++j) to[j] = from[columns[j]];
        }
    }
    /// Of the diagonal, behind the triangle.
    const T* invert_diagonal(std::int64_t n) {
        constexpr T kLow = dense::power_of_two<T>(-dense::kDivisorExponent<T>),
                    kHigh = dense::power_of_two<T>(dense::kDivisorExponent<T>);
        const FloatEnvironment environment(Subnormals::keep);
        const T* const triangle = reinterpret_cast<const T*>(scratch_.data());
        T* const inverses = reinterpret_cast<T*>(scratch_.data()) + kTriangleRows * kTriangleRows;
        for (std::int64_t i = 0; i < n && !p_.unit; ++i) {
            const T d = triangle[i * kTriangleRows + i], size = std::abs(d);
            inverses[i] = size >= kLow && size <= kHigh ? 1 / d : 0;
        }
        return inverses;
    }
    void run_kernel(void (*kernel)(const dense::TriangularTile<T>&), std::int64_t first, std::int64_t n, double alpha) {
        constexpr std::int64_t kWidth = kTileBytes / std::int64_t{sizeof(T)},
                               kKernel = kKernelBytes / std::int64_t{sizeof(T)};
        const Matrix b = block(p_.b, first, 0, n, p_.b.columns);
        load_triangle(first, n);
        const auto* triangle = reinterpret_cast<const T*>(scratch_.data());
        const bool solves = kernel == kernels_.solve;
        const T* inverses = solves ? invert_diagonal(n) : nullptr;
        if (p_.tile) {
            const FloatEnvironment environment(Subnormals::keep);
            return kernel({triangle, inverses, static_cast<T*>(b.data), n, b.columns, alpha, p_.unit});
        }
        const std::int64_t tiles = (b.columns + kWidth - 1) / kWidth;
        parallel_for(tiles, std::max<std::int64_t>(1, kTaskWork / (n * n * kWidth / 2)), [&](auto begin, auto end) {
            const FloatEnvironment environment(Subnormals::keep);
            alignas(64) T tile[kTriangleRows * kWidth];
            for (std::int64_t i = begin; i < end; ++i) {
                const Matrix part = block(b, 0, i * kWidth, n, std::min(kWidth, b.columns - i * kWidth));
                const bool direct = b.column_stride == 1 && part.columns % kKernel == 0;
                if (!solves || !direct) move_tile<true>(kernels_, part, tile);
                kernel({triangle, inverses, tile, n, part.columns, alpha, p_.unit,
                        direct ? static_cast<T*>(part.data) : nullptr, part.row_stride});
                if (!direct) move_tile<false>(kernels_, part, tile);
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

/// Of a share of B whose rows are runs between other threads' runs: bytes of a run, and of the share, up to which it is
/// computed in a copy. What is fetched beyond a run is taken from another thread, at each step anew.
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
    // What the kernels compute beyond the columns.
    const std::int64_t computed = (bytes + kKernelBytes - 1) / kKernelBytes * kKernelBytes;
    for (std::int64_t i = 0; i < rows && tile && bytes < computed; ++i)
        std::memset(room.data() + i * pitch + bytes, 0, static_cast<std::size_t>(computed - bytes));
    if (!tile && p.b.row_stride < 0) copied.b = reverse_rows(copied.b);
    const auto move = [&](const Matrix& from, const Matrix& to) {
        with_type(p.b.dtype, [&]<class T>(T) {
            const auto& kernels = kernels_of<T>();
            kernels.copy(static_cast<T*>(to.data), to.row_stride, static_cast<const T*>(from.data), from.row_stride,
                         rows, from.columns);
        });
    };
    move(p.b, copied.b);
    run(copied);
    move(copied.b, p.b);
}

/// Calls run(problem) for shares of B's columns, on a thread each, or for all of them.
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
            if (share.b.columns > 0) run_apart(share, run);
        }
    });
}

/// Rows of A from which they are turned at once, by one thread, and by several, which have to wait for one another; and
/// bytes up to which.
constexpr std::int64_t kTurnedRows = 256, kTurnedShared = 512, kTurnedBytes = 16 << 20;
/// Elements that are worth a thread's copying.
constexpr std::int64_t kCopyGrain = 1 << 13;

/// Rows of A lie side by side in memory, where products want each by itself, and would turn them at each step.
bool wants_turning(const Problem& p) {
    const std::int64_t n = p.a.rows, size = static_cast<std::int64_t>(size_of(p.a.dtype));
    return p.b.column_stride == 1 && std::abs(p.a.row_stride) == 1 && std::abs(p.a.column_stride) != 1 &&
           n >= (threads_here() == 1 ? kTurnedRows : kTurnedShared) && n * n * size <= kTurnedBytes;
}

/// Rows of A one after the other in `room`, as far as p.blocks is read: once for all threads and steps.
template <class T>
Matrix turned(const Problem& p, const dense::Scratch& room, std::int64_t pitch) {
    const std::int64_t n = p.a.rows, blocks = (n - 1) / kTriangleRows;
    Matrix to = row_major(room.data(), p.a.dtype, n, n);
    to.row_stride = pitch;
    if (p.reversed) to = reverse(to);
    parallel_for(blocks, std::max<std::int64_t>(1, kCopyGrain / (n * kTriangleRows)), [&](auto begin, auto end) {
        dense::Scratch offsets(static_cast<std::size_t>(n) * 8);
        auto* const columns = offsets.take<std::int64_t>(n);
        std::int64_t rows[kTriangleRows];
        for (std::int64_t i = (begin + 1) * kTriangleRows; i < std::min((end + 1) * kTriangleRows, n);
             i += kTriangleRows) {
            const std::int64_t count = std::min(kTriangleRows, n - i);
            Matrix from = block(p.a, i, 0, count, i), there = block(to, i, 0, count, i);
            if (p.reversed) from = reverse(from), there = reverse(there);
            for (std::int64_t r = 0; r < count; ++r) rows[r] = r * from.row_stride;
            for (std::int64_t j = 0; j < i; ++j) columns[j] = j * from.column_stride;
            pack_across(static_cast<T*>(there.data), pitch, {from.data, columns, rows, i, count});
        }
    });
    return to;
}

enum class What : std::uint8_t { multiply, solve };

template <class T>
void run(What what, const Problem& p, double alpha) {
    const std::int64_t n = p.a.rows, pitch = (n + 15) / 16 * 16 + 16;
    std::optional<dense::Scratch> room;
    Problem whole = p;
    if (wants_turning(p)) {
        room.emplace(static_cast<std::size_t>(n * pitch) * sizeof(T));
        whole.blocks = turned<T>(p, *room, pitch);
    }
    for_shares(whole, [&](const Problem& share) {
        Recursion<T> recursion(share, kernels_of<T>());
        if (what == What::solve)
            recursion.solve(0, n, alpha);
        else
            recursion.multiply(0, n, alpha);
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
    with_type(a.dtype, [&]<class T>(T) { run<T>(What::multiply, p, alpha); });
}

void trsm(Side side, Triangle triangle, Diagonal diagonal, double alpha, const Matrix& a, const Matrix& b) {
    check("trsm", side, a, b);
    if (b.rows == 0 || b.columns == 0) return;
    if (alpha == 0) return clear(b);
    const Problem p = lower_left(side, triangle, diagonal, a, b);
    with_type(a.dtype, [&]<class T>(T) { run<T>(What::solve, p, alpha); });
}

}  // namespace tenon::product
