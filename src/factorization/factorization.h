// Factorizations of matrices in memory, of float32 or float64: the last two axes of `a` are a matrix, the others a
// batch. Each matrix's results follow each other in `out`, (..., size), contiguous. Matrices of up to kSmall rows and
// columns are computed several at a time, one in each vector lane, with the bits of the reference (small.h).
//
// The bits of a result depend only on the matrix's elements and extents: not on the batch, the threads or the
// instruction set.
#pragma once

#include "base/view.h"

namespace tenon::factorization {

inline constexpr std::int64_t kSmall = 32;

/// Elements of one matrix's results.
inline std::int64_t lu_size(std::int64_t m, std::int64_t n) { return m * n + m; }
inline std::int64_t qr_size(std::int64_t m, std::int64_t n, bool full) { return m * (full ? m : n) + n * n; }
inline std::int64_t eigh_size(std::int64_t n, bool vectors) { return vectors ? n + n * n : n; }
inline std::int64_t svd_size(std::int64_t m, std::int64_t n, bool vectors, bool full) {
    const std::int64_t k = m < n ? m : n;
    return vectors ? k + m * (full ? m : k) + (full ? n : k) * n : k;
}

/// L of L L^T, (n, n), with zeros above the diagonal; NaN on and below it if the matrix is not positive definite. The
/// lower triangle of a is read, as in eigh.
void cholesky(const View& a, const View& out, bool reference);
/// L and U in one matrix (m, n); then the permutation: row i of L U is row p[i] of a.
void lu(const View& a, const View& out, bool reference);
/// Q (m, n), or (m, m) if `full`; then R (n, n), with zeros below the diagonal. m >= n.
void qr(const View& a, const View& out, bool full, bool reference);
/// The eigenvalues (n), ascending; then, if `vectors`, the matrix (n, n) whose columns are the eigenvectors.
void eigh(const View& a, const View& out, bool vectors, bool reference);
/// The singular values (k), k the smaller extent, descending; then, if `vectors`, U (m, k) and V^T (k, n), or (m, m)
/// and (n, n) if `full`.
void svd(const View& a, const View& out, bool vectors, bool full, bool reference);

/// Systems op(a) x = b, or x op(a) = b, with triangular a of at most kSmall rows and as few vectors x of b: the bits of
/// product::trsm. `out` is contiguous, with b's shape.
struct TriangularSystems {
    bool right, lower, transpose, unit;
};
void solve(const View& a, const View& b, const View& out, const TriangularSystems& systems);

}  // namespace tenon::factorization
