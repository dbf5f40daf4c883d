// Symmetric products, as gemms over parts of the output: the summed extent is never cut, so each element has gemm's
// bits.
#include <algorithm>
#include <cstddef>

#include "base/parallel.h"
#include "product/dense/scratch.h"
#include "product/matrices.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

/// Side of the blocks on the diagonal, which are computed whole: (n + 64) / n times the operations that are needed.
constexpr std::int64_t kDiagonal = 64;
/// So many of them are one batch, whose sums wait in scratch (at most 1 MiB).
constexpr std::int64_t kTogether = 32;
/// Rows of a symmetric operand that are completed at once. Each time B is packed again, which this many rows outweigh.
constexpr std::int64_t kRows = 512;
/// Elements below which a copy is not worth handing to a thread.
constexpr std::int64_t kCopyGrain = 1 << 16;

/// Calls f with an unsigned integer of an element's size: copies keep all bits.
template <class F>
void with_element(DType t, F f) {
    switch (size_of(t)) {
        case 2:
            return f(std::uint16_t{});
        case 4:
            return f(std::uint32_t{});
        default:
            return f(std::uint64_t{});
    }
}

/// C's lower triangle <- `sums` (or, with kIn, the way back, and zeros above the diagonal), for every matrix of a
/// batch. `sums` are matrices of rows one after the other.
template <bool kIn>
void copy_lower(const Matrix& c, const Matrix& sums, std::int64_t batch) {
    with_element(c.dtype, [&]<class T>(T) {
        const std::int64_t n = c.rows, grain = std::max<std::int64_t>(1, kCopyGrain / (n * n));
        parallel_for(batch, grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin * n; row < end * n; ++row) {
                const std::int64_t i = row % n;
                T* there = static_cast<T*>(c.data) + row / n * c.batch_stride + i * c.row_stride;
                T* here = static_cast<T*>(sums.data) + row * n;
                for (std::int64_t j = 0; j <= i; ++j)
                    if constexpr (kIn)
                        here[j] = there[j * c.column_stride];
                    else
                        there[j * c.column_stride] = here[j];
                if constexpr (kIn) std::fill(here + i + 1, here + n, T{0});
            }
        });
    });
}

/// The lower triangle of C = alpha A B + beta C, A (n, k) and B (k, n).
class LowerTriangle {
  public:
    LowerTriangle(const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options)
        : a_(a), b_(b), c_(c), options_(options) {}

    /// Halving the triangle again and again leaves squares below the diagonal. Those of one size are one batch, so that
    /// small ones keep all threads busy.
    void run() const {
        const std::int64_t n = c_.rows;
        const std::int64_t blocks = n / kDiagonal, side = std::min(n, kDiagonal);
        dense::Scratch scratch(static_cast<std::size_t>(std::clamp<std::int64_t>(blocks, 1, kTogether) * side * side) *
                               size_of(c_.dtype));
        for (std::int64_t s = kDiagonal; s < n; s *= 2) {
            const std::int64_t pairs = n / (2 * s), first = 2 * s * pairs;
            multiply_below(0, s, s, pairs);
            if (first + s < n) multiply_below(first, s, n - first - s, 1);
        }
        for (std::int64_t i = 0; i < blocks; i += kTogether)
            multiply_on_diagonal(i * kDiagonal, kDiagonal, std::min(kTogether, blocks - i), scratch.data());
        if (blocks * kDiagonal < n) multiply_on_diagonal(blocks * kDiagonal, n - blocks * kDiagonal, 1, scratch.data());
    }

  private:
    /// Row `row` onwards of A, column `column` onwards of B, for `batch` blocks that lie `step` apart on the diagonal.
    void multiply(std::int64_t row, std::int64_t column, std::int64_t step, const Matrix& out,
                  std::int64_t batch) const {
        Matrix left = block(a_, row, 0, out.rows, a_.columns), right = block(b_, 0, column, b_.rows, out.columns);
        left.batch_stride = step * a_.row_stride;
        right.batch_stride = step * b_.column_stride;
        gemm(left, right, out, {.alpha = options_.alpha, .beta = options_.beta, .batch = batch});
    }

    Matrix on_diagonal(std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns,
                       std::int64_t step) const {
        Matrix out = block(c_, row, column, rows, columns);
        out.batch_stride = step * (c_.row_stride + c_.column_stride);
        return out;
    }

    /// Blocks of `rows` rows below blocks of `s` rows.
    void multiply_below(std::int64_t first, std::int64_t s, std::int64_t rows, std::int64_t batch) const {
        multiply(first + s, first, 2 * s, on_diagonal(first + s, first, rows, s, 2 * s), batch);
    }

    void multiply_on_diagonal(std::int64_t first, std::int64_t side, std::int64_t batch, std::byte* scratch) const {
        const Matrix out = on_diagonal(first, first, side, side, side), sums = row_major(scratch, c_.dtype, side, side);
        if (options_.beta != 0) copy_lower<true>(out, sums, batch);
        multiply(first, first, side, sums, batch);
        copy_lower<false>(out, sums, batch);
    }

    const Matrix &a_, &b_, &c_;
    const SymmetricOptions& options_;
};

/// An upper triangle is the lower one of C^T = alpha B^T A^T + beta C^T.
void update(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    if (c.rows == 0) return;
    if (triangle == Triangle::lower) return LowerTriangle(a, b, c, options).run();
    const Matrix left = b.transpose(), right = a.transpose(), out = c.transpose();
    LowerTriangle(left, right, out, options).run();
}

constexpr const char* kTypeRule =
    "operands share float64, float32, float16 or bfloat16 and c has it too (or float32 for the last two)";

void check_output(const char* name, const Matrix& a, const Matrix& b, const Matrix& c,
                  std::initializer_list<Operand> operands) {
    if (c.rows != a.rows || c.columns != a.rows) refuse<ShapeError>(name, "c is (n, n) for a (n, k)", operands);
    if (a.dtype != b.dtype || !sums_into(a.dtype, c.dtype)) refuse<TypeError>(name, kTypeRule, operands);
    if (overlaps_itself(c)) refuse<ValueError>(name, "elements of c do not share memory", operands);
}

void check_update(const char* name, const Matrix& a, const Matrix& b, const Matrix& c,
                  std::initializer_list<Operand> operands) {
    if (a.rows < 0 || a.columns < 0) refuse<ShapeError>(name, "extents are not negative", operands);
    if (b.rows != a.rows || b.columns != a.columns)
        refuse<ShapeError>(name, "a (n, k) and b (n, k) have the same shape", operands);
    check_output(name, a, b, c, operands);
}

void check_symm(Side side, const Matrix& a, const Matrix& b, const Matrix& c) {
    const std::initializer_list<Operand> operands = {{"a", a}, {"b", b}, {"c", c}};
    if (a.rows < 0 || b.rows < 0 || b.columns < 0) refuse<ShapeError>("symm", "extents are not negative", operands);
    if (b.rows != c.rows || b.columns != c.columns)
        refuse<ShapeError>("symm", "b (m, n) and c (m, n) have the same shape", operands);
    if (side == Side::left && (a.rows != b.rows || a.columns != b.rows))
        refuse<ShapeError>("symm", "a (m, m) stands on the left of b (m, n)", operands);
    if (side == Side::right && (a.rows != b.columns || a.columns != b.columns))
        refuse<ShapeError>("symm", "a (n, n) stands on the right of b (m, n)", operands);
    if (a.dtype != b.dtype || !sums_into(a.dtype, c.dtype)) refuse<TypeError>("symm", kTypeRule, operands);
    if (overlaps_itself(c)) refuse<ValueError>("symm", "elements of c do not share memory", operands);
}

/// Rows `first` onwards of the symmetric matrix whose lower triangle is A's.
void complete(const Matrix& a, std::int64_t first, const Matrix& rows) {
    with_element(a.dtype, [&]<class T>(T) {
        const std::int64_t n = a.rows, grain = std::max<std::int64_t>(1, kCopyGrain / n);
        parallel_for(rows.rows, grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                T* row = static_cast<T*>(rows.data) + i * n;
                const std::int64_t diagonal = first + i;
                const T* from = static_cast<const T*>(a.data) + diagonal * a.row_stride;
                for (std::int64_t j = 0; j <= diagonal; ++j) row[j] = from[j * a.column_stride];
                from = static_cast<const T*>(a.data) + diagonal * a.column_stride;
                for (std::int64_t j = diagonal + 1; j < n; ++j) row[j] = from[j * a.row_stride];
            }
        });
    });
}

/// C = alpha A B + beta C, A symmetric with its lower triangle given.
void multiply_symmetric(const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options) {
    const std::int64_t n = a.rows;
    const GemmOptions finish{.alpha = options.alpha, .beta = options.beta};
    if (n == 0 || c.columns == 0 || options.alpha == 0) return gemm(a, b, c, finish);
    dense::Scratch scratch(static_cast<std::size_t>(std::min(n, kRows) * n) * size_of(a.dtype));
    for (std::int64_t first = 0; first < n; first += kRows) {
        const Matrix rows = row_major(scratch.data(), a.dtype, std::min(kRows, n - first), n);
        complete(a, first, rows);
        gemm(rows, b, block(c, first, 0, rows.rows, c.columns), finish);
    }
}

}  // namespace

void syrk(const Matrix& a, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    check_update("syrk", a, a, c, {{"a", a}, {"c", c}});
    update(a, a.transpose(), c, triangle, options);
}

void gemmt(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    const std::initializer_list<Operand> operands = {{"a", a}, {"b", b}, {"c", c}};
    if (a.rows < 0 || a.columns < 0) refuse<ShapeError>("gemmt", "extents are not negative", operands);
    if (b.rows != a.columns || b.columns != a.rows) refuse<ShapeError>("gemmt", "b is (k, n) for a (n, k)", operands);
    check_output("gemmt", a, b, c, operands);
    update(a, b, c, triangle, options);
}

void syr2k(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    check_update("syr2k", a, b, c, {{"a", a}, {"b", b}, {"c", c}});
    update(a, b.transpose(), c, triangle, options);
    update(b, a.transpose(), c, triangle, {options.alpha, 1});
}

void symm(Side side, Triangle triangle, const Matrix& a, const Matrix& b, const Matrix& c,
          const SymmetricOptions& options) {
    check_symm(side, a, b, c);
    // A is its own transpose, so the right is the left of the transposes of B and C.
    const Matrix lower = triangle == Triangle::lower ? a : a.transpose();
    if (side == Side::left) return multiply_symmetric(lower, b, c, options);
    multiply_symmetric(lower, b.transpose(), c.transpose(), options);
}

}  // namespace tenon::product
