// Factorizations, and linear systems, norms and functions built on them: the names and semantics of the Python Array
// API's linalg extension, version 2023.12, and some common others. Matrices are the last two axes of float32 or float64
// tensors; the axes before are a batch. Where two operands meet, their batches broadcast and their dtypes promote.
//
// ```cpp
// const Tensor a = Tensor::from<double>({4, 2, 2, 3}, {2, 2}), b = Tensor::from<double>({2, 5});
// const Tensor x = linalg::solve(a, b);
// assert(max(abs(matmul(a, x) - b)).item<double>() < 1e-14);
// const auto [w, v] = linalg::eigh(a);  // ascending
// assert(max(abs(matmul(a, v) - v * w)).item<double>() < 1e-14);
// const Tensor g = grad([](const Tensor& m) { return linalg::slogdet(m).logabsdet; })(a);  // the inverse, transposed
// assert(max(abs(matmul(a, matrix_transpose(g)) - eye(2, {}, 0, DType::float64))).item<double>() < 1e-14);
// ```
//
// The bits of a matrix's results depend on its elements and extents alone: not on the batch and its place in it, nor on
// the number of threads, nor on the instruction set. Batches of matrices of up to 32 x 32 are computed a vector of them
// at a time (docs/linalg.md has the algorithms).
//
// Errors. Other dtypes are a TypeError, extents that do not fit a ShapeError, when recorded; both name the function,
// the shapes and the rule. Matrices too large for LAPACK (docs/linalg.md) are a ValueError when evaluated. Values are
// never an error: what is singular, not positive definite or not finite gives infinities and NaN, as each function
// says, and harms no other matrix of the batch. The residuals of factorizations are of the order of n u |A|, u the unit
// roundoff.
//
// Derivatives of any order follow from those of cholesky, lu_factor, qr, eigh, svd and triangular_solve. cholesky and
// eigh take x to be symmetric: they read its lower triangle, and their derivative is that along symmetric matrices, so
// that gradients are symmetric.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>

#include "tenon/functions.h"

namespace tenon::linalg {

// Factorizations
// --------------

/// L (or, `upper`, its transpose) of x = L L^T, for symmetric positive definite x (..., n, n): lower triangular with a
/// positive diagonal. Where x is not positive definite to working precision, all of the triangle is NaN. n^3 / 3
/// operations.
TENON_API Tensor cholesky(const Tensor& x, bool upper = false);

/// L and U of x (..., m, n) in one matrix, as LAPACK's getrf has them: L (m, k), k the lesser of m and n, has a
/// diagonal of ones, which is not stored, and U (k, n) is on and above the diagonal. Row i of L U is row permutation[i]
/// (int64, (..., m)) of x: the pivot is the first of the largest elements of its column. A column without a pivot gives
/// a zero on U's diagonal and zeros in L. The derivative takes the permutation as constant, and divides by U's
/// diagonal. 2 n^3 / 3 operations for square x.
struct LuFactor {
    Tensor lu, permutation;
};
TENON_API LuFactor lu_factor(const Tensor& x);
/// P (..., m, m), L (..., m, k) and U (..., k, n) with x = P L U (SciPy's lu).
struct LuResult {
    Tensor p, l, u;
};
TENON_API LuResult lu(const Tensor& x);

/// x = Q R of x (..., m, n), k the lesser of m and n. `reduced`: Q (..., m, k) has orthonormal columns and R (..., k,
/// n) is upper triangular. `complete`: Q (..., m, m) and R (..., m, n). By Householder's reflectors: the signs of R's
/// diagonal are LAPACK's. Where x has fewer than k independent columns, R has a zero (or what rounding left) on its
/// diagonal, and Q is orthonormal all the same. The derivative divides by R's diagonal: for such x it is infinite or
/// NaN. The columns that complete a tall Q have none: asking for it is a ValueError. 4 m n^2 operations, about, for
/// tall x.
enum class QrMode : std::uint8_t { reduced, complete };
struct QrResult {
    Tensor q, r;
};
TENON_API QrResult qr(const Tensor& x, QrMode mode = QrMode::reduced);

/// The eigenvalues (..., n) of symmetric x (..., n, n), ascending, and their orthonormal eigenvectors as columns of
/// (..., n, n); the signs of the vectors are those that the algorithm gives. NaN if x is not finite. About 9 n^3
/// operations.
///
/// The derivative of the vectors divides by differences of eigenvalues; those of nearly equal ones are as large as
/// their difference is small. Vectors of equal eigenvalues have none: within their space it is taken as 0, which is
/// right for the projector V V^T onto the whole space. Of equal eigenvalues, the derivative of the sum, or of another
/// symmetric function, is right, and that of each alone is one of many. So where eigenvalues are equal, V f(w) V^T
/// lacks what mixes their vectors (matrix functions have formulas of their own: matrix_power, expm, inv), and second
/// derivatives are not right.
struct EighResult {
    Tensor eigenvalues, eigenvectors;
};
TENON_API EighResult eigh(const Tensor& x);
/// The eigenvalues alone; 4 n^3 / 3 operations.
TENON_API Tensor eigvalsh(const Tensor& x);

/// x = U diag(S) Vh of x (..., m, n): the singular values S (..., k), descending, k the lesser of m and n; U (..., m,
/// m) and Vh (..., n, n) are orthogonal, or without full_matrices (..., m, k) and (..., k, n), orthonormal whatever the
/// rank. NaN where x is not finite. 20 m n^2 operations, about, for tall x.
///
/// The derivative of the vectors divides by differences and sums of singular values and, for directions outside their
/// span, by each singular value; a quotient with a zero divisor is taken as 0, as for eigh. At a zero singular value
/// the derivative (that of |t|) has two one-sided values; one of them is returned. Vectors that full_matrices adds have
/// no derivative: asking for it is a ValueError.
struct SvdResult {
    Tensor u, s, vh;
};
TENON_API SvdResult svd(const Tensor& x, bool full_matrices = true);
/// The singular values alone.
TENON_API Tensor svdvals(const Tensor& x);

// Systems
// -------

struct TriangularSolveOptions {
    bool left_side = true;  // otherwise a is on the right
    bool lower = false;  // the triangle of a that is read
    bool transpose_a = false;
    bool unit_diagonal = false;  // the diagonal counts as ones and is not read
};
/// X of op(a) X = b, or of X op(a) = b, for triangular a (..., n, n); b (..., n, m), or (..., m, n) on the right. A
/// zero on the diagonal is divided by. n^2 m operations, by product::trsm, which says the order and the error.
TENON_API Tensor triangular_solve(const Tensor& a, const Tensor& b, const TriangularSolveOptions& options = {});

/// X of a X = b by LU with partial pivoting: a (..., n, n); b (n,), a vector, or (..., n, m). Of singular a infinite or
/// NaN. The factorization is shared with the derivative. 2 n^3 / 3 + 2 n^2 m operations.
TENON_API Tensor solve(const Tensor& a, const Tensor& b);
/// The same with a's factors.
TENON_API Tensor lu_solve(const LuFactor& factor, const Tensor& b);
/// X of a X = b for a = L L^T, from L (or, `upper`, its transpose).
TENON_API Tensor cholesky_solve(const Tensor& factor, const Tensor& b, bool upper = false);
/// The inverse: solve(x, identity). Of singular x infinite or NaN.
TENON_API Tensor inv(const Tensor& x);
/// The Moore-Penrose inverse (..., n, m) by svd: singular values at or below rtol times the largest count as zero; by
/// default max(m, n) times the distance from 1 to the next number. The derivative is that at constant rank.
TENON_API Tensor pinv(const Tensor& x, std::optional<double> rtol = {});

/// The X of least |X| among those of least |a X - b| (columnwise, by svd), as NumPy's lstsq: a (..., m, n); b (m,), a
/// vector, or (..., m, p). With `qr`, for a of full rank alone, which is not checked: about a fifth of the operations.
enum class LeastSquares : std::uint8_t { svd, qr };
struct LstsqResult {
    /// (..., n, p), or (..., n) of a vector.
    Tensor x;
    /// The squares of |a X - b| for each column of b.
    Tensor residuals;
    /// By the singular values above rtol times the largest, as int64 (..., ); by `qr` the lesser extent.
    Tensor rank;
    /// Descending; undefined by `qr`.
    Tensor singular_values;
};
TENON_API LstsqResult lstsq(const Tensor& a, const Tensor& b, std::optional<double> rtol = {},
                            LeastSquares method = LeastSquares::svd);

// Numbers of a matrix
// -------------------

/// The determinant (...) of x (..., n, n), by LU; 1 for n = 0. Its derivative is det(x) times the inverse's: NaN where
/// x is singular.
TENON_API Tensor det(const Tensor& x);
/// Its sign, -1, 0 or 1, and the logarithm of its magnitude, -inf of singular x.
struct SlogdetResult {
    Tensor sign, logabsdet;
};
TENON_API SlogdetResult slogdet(const Tensor& x);
/// How many singular values are above rtol times the largest, as int64 (...); the default is pinv's.
TENON_API Tensor matrix_rank(const Tensor& x, std::optional<double> rtol = {});
/// Of matrices (..., m, n): `fro`, the root of the sum of squares; `nuc`, the sum of the singular values; `one` and
/// `inf`, the largest sum of magnitudes of a column and of a row; `two`, the largest singular value; `minus_` the
/// smallest instead of the largest. An empty matrix has the norms `fro` and `nuc`, 0, and no other (ShapeError).
enum class MatrixNorm : std::uint8_t { fro, nuc, one, minus_one, two, minus_two, inf, minus_inf };
TENON_API Tensor matrix_norm(const Tensor& x, bool keepdims = false, MatrixNorm ord = MatrixNorm::fro);
/// Of vectors along some axes, by default all: (sum |x|^ord)^(1 / ord); the largest magnitude for ord = inf, the
/// smallest for -inf, and for 0 how many are not zero; of nothing 0 (inf for -inf). No scaling: squares of elements
/// beyond the root of the largest number overflow. The derivative of a norm of zeros is 0.
TENON_API Tensor vector_norm(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false,
                             double ord = 2);
/// The condition number |x| |x^-1| in a norm, by default the largest singular value over the smallest, which also
/// takes matrices that are not square. Infinite for singular x (`minus_two`: 0), NaN where x has one. An empty matrix
/// has none but `fro`'s and `nuc`'s (ShapeError).
TENON_API Tensor cond(const Tensor& x, MatrixNorm ord = MatrixNorm::two);

// Functions of a matrix
// ---------------------

/// e to the power of the matrix, by scaling and squaring around the diagonal Pade approximant of degree 13, for float32
/// 7 (Higham, "The scaling and squaring method for the matrix exponential revisited", 2005). One solution, and at most
/// `max_squarings` squarings, which are recorded whatever the values: NaN where a 1-norm above 5.37 (3.92) times
/// 2^max_squarings would need more.
TENON_API Tensor expm(const Tensor& x, int max_squarings = 16);
/// x to an integer power, by squaring; a negative one of the inverse.
TENON_API Tensor matrix_power(const Tensor& x, std::int64_t n);
/// Products of vectors of three elements along an axis of both, as cross(a, b) in space; other axes broadcast.
TENON_API Tensor cross(const Tensor& a, const Tensor& b, int axis = -1);
/// The Kronecker product of the last two axes: (..., m, n) and (..., p, q) give (..., m p, n q).
TENON_API Tensor kron(const Tensor& a, const Tensor& b);

using tenon::diagonal;
using tenon::matmul;
using tenon::matrix_transpose;
using tenon::outer;
using tenon::tensordot;
using tenon::trace;
using tenon::vecdot;

}  // namespace tenon::linalg
