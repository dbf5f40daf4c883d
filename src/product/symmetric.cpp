// Symmetric products: products of which one triangle is computed, or that read one; each element has gemm's bits.
#include <algorithm>
#include <cstddef>

#include "base/parallel.h"
#include "product/dense/blocked.h"
#include "product/dense/scratch.h"
#include "product/matrices.h"
#include "product/overlap.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

/// Rows up to which a triangle is computed whole: in place, the tiles of the diagonal alone would be more.
constexpr std::int64_t kSmall = 32;
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

/// C's lower triangle <- `sums`, rows one after the other; or, with kIn, the way back, and zeros above the diagonal.
template <bool kIn>
void copy_lower(const Matrix& c, const Matrix& sums) {
    with_element(c.dtype, [&]<class T>(T) {
        const std::int64_t n = c.rows;
        for (std::int64_t i = 0; i < n; ++i) {
            T* there = static_cast<T*>(c.data) + i * c.row_stride;
            T* here = static_cast<T*>(sums.data) + i * n;
            for (std::int64_t j = 0; j <= i; ++j)
                if constexpr (kIn)
                    here[j] = there[j * c.column_stride];
                else
                    there[j * c.column_stride] = here[j];
            if constexpr (kIn) std::fill(here + i + 1, here + n, T{0});
        }
    });
}

/// A small triangle: the whole product beside C, then the triangle of it.
void update_small(const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options) {
    dense::Scratch scratch(static_cast<std::size_t>(c.rows * c.rows) * size_of(c.dtype));
    const Matrix sums = row_major(scratch.data(), c.dtype, c.rows, c.rows);
    if (options.beta != 0) copy_lower<true>(c, sums);
    gemm(a, b, sums, {.alpha = options.alpha, .beta = options.beta});
    copy_lower<false>(c, sums);
}

/// One triangle of C = alpha A B + beta C, A (n, k) and B (k, n). An upper one is the lower one of C^T = alpha B^T A^T
/// + beta C^T.
void update(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    if (c.rows == 0) return;
    if (triangle == Triangle::upper)
        return update(b.transpose(), a.transpose(), c.transpose(), Triangle::lower, options);
    if (c.rows <= kSmall) return update_small(a, b, c, options);
    dense::contract_blocked(roles_of(a, b, c, 1), view_of(a), view_of(b), view_of(c),
                            finish_of({.alpha = options.alpha, .beta = options.beta}), {.part = dense::Part::lower});
}

constexpr const char* kTypeRule =
    "operands share float64, float32, float16 or bfloat16 and c has it too (or float32 for the last two)";

void check_output(const char* name, const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options,
                  std::initializer_list<Operand> operands) {
    if (c.rows != a.rows || c.columns != a.rows) refuse<ShapeError>(name, "c is (n, n) for a (n, k)", operands);
    if (a.dtype != b.dtype || !sums_into(a.dtype, c.dtype)) refuse<TypeError>(name, kTypeRule, operands);
    if (overlaps_itself(c)) refuse<ValueError>(name, "elements of c do not share memory", operands);
    if (options.alpha != 0 && (share_memory(a, c, 1) || share_memory(b, c, 1)))
        refuse<ValueError>(name, "c shares memory with an operand", operands);
}

void check_update(const char* name, const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options,
                  std::initializer_list<Operand> operands) {
    if (a.rows < 0 || a.columns < 0) refuse<ShapeError>(name, "extents are not negative", operands);
    if (b.rows != a.rows || b.columns != a.columns)
        refuse<ShapeError>(name, "a (n, k) and b (n, k) have the same shape", operands);
    check_output(name, a, b, c, options, operands);
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
    check_update("syrk", a, a, c, options, {{"a", a}, {"c", c}});
    update(a, a.transpose(), c, triangle, options);
}

void gemmt(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    const std::initializer_list<Operand> operands = {{"a", a}, {"b", b}, {"c", c}};
    if (a.rows < 0 || a.columns < 0) refuse<ShapeError>("gemmt", "extents are not negative", operands);
    if (b.rows != a.columns || b.columns != a.rows) refuse<ShapeError>("gemmt", "b is (k, n) for a (n, k)", operands);
    check_output("gemmt", a, b, c, options, operands);
    update(a, b, c, triangle, options);
}

void syr2k(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    check_update("syr2k", a, b, c, options, {{"a", a}, {"b", b}, {"c", c}});
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
