// Functions of the singular values: rank, the pseudoinverse, least squares.
#include "base/text.h"
#include "primitive/custom.h"
#include "primitive/factorization.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "tenon/error.h"
#include "tenon/linalg.h"

namespace tenon::linalg {
namespace {

/// True for singular values that do not count as zero. A NaN does not, so that it reaches the result.
Tensor counted(const Tensor& x, const Tensor& s, std::optional<double> rtol) {
    const double unit = x.dtype() == DType::float64 ? 0x1p-52 : 0x1p-23;
    const double factor = rtol.value_or(static_cast<double>(std::max(x.extent(-2), x.extent(-1))) * unit);
    if (s.extent(-1) == 0) return astype(s, DType::boolean);
    return logical_not(less_equal(s, factor * max(s, -1, true)));
}

/// How many singular values are above the limit; a NaN is not.
Tensor rank_of(const Tensor& s, const Tensor& some) {
    return sum(astype(logical_and(some, logical_not(isnan(s))), DType::int64), -1);
}

/// 1 / s, or 0 for a singular value that counts as zero.
Tensor inverted(const Tensor& s, const Tensor& some) {
    const DType t = s.dtype();
    return select(some, 1 / select(some, s, constant(1, t)), constant(0, t));
}

Tensor transposed(const Tensor& x) { return matrix_transpose(x); }

/// (I - x y) z.
Tensor outside(const Tensor& x, const Tensor& y, const Tensor& z) { return z - matmul(x, matmul(y, z)); }

LstsqResult by_qr(const Tensor& a, const Tensor& b) {
    const std::int64_t m = a.extent(-2), n = a.extent(-1);
    LstsqResult result;
    if (m >= n) {
        const auto [q, r] = qr(a);
        result.x = triangular_solve(r, matmul(transposed(q), b));
    } else {
        const auto [q, r] = qr(transposed(a));
        result.x = matmul(q, triangular_solve(r, b, {.transpose_a = true}));
    }
    result.rank = full(with_batch_of(a, {}), std::min(m, n), DType::int64);
    return result;
}

// At constant rank, with P the pseudoinverse: dx = P (db - da x) + P P^T da^T (b - a x) + (I - P a) da^T P^T x (Golub
// and Pereyra, 1973). Unlike the derivatives of the vectors, it divides by no difference of singular values.
LstsqResult by_svd(const Tensor& a, const Tensor& b, std::optional<double> rtol) {
    const auto [u, s, vh] = svd(a, false);
    const Tensor some = counted(a, s, rtol);
    const Tensor inner = expand_dims(inverted(s, some), -1) * matmul(transposed(u), b);
    const auto rule = [rtol](std::span<const Tensor> in, const Tensor& x, std::span<const Tensor> d) {
        const Tensor p = pinv(in[0], rtol), pt = transposed(p), dat = transposed(d[0]);
        return matmul(p, d[1] - matmul(d[0], x)) + matmul(p, matmul(pt, matmul(dat, in[1] - matmul(in[0], x)))) +
               outside(p, in[0], matmul(dat, matmul(pt, x)));
    };
    return {
        with_custom_tangent(matmul(transposed(vh), inner), std::vector<Tensor>{a, b}, rule), {}, rank_of(s, some), s};
}

}  // namespace

Tensor matrix_rank(const Tensor& x, std::optional<double> rtol) {
    check_matrices("matrix_rank", x);
    const Tensor s = svdvals(x);
    return rank_of(s, counted(x, s, rtol));
}

// dP = -P dx P + P P^T dx^T (I - x P) + (I - P x) dx^T P^T P.
Tensor pinv(const Tensor& x, std::optional<double> rtol) {
    check_matrices("pinv", x);
    const auto [u, s, vh] = svd(x, false);
    const Tensor value = matmul(transposed(vh), expand_dims(inverted(s, counted(x, s, rtol)), -1) * transposed(u));
    return with_custom_tangent(
        value, std::vector<Tensor>{x}, [](std::span<const Tensor> in, const Tensor& p, std::span<const Tensor> d) {
            const Tensor pt = transposed(p), dxt = transposed(d[0]);
            const Tensor right = transposed(outside(pt, transposed(in[0]), transposed(matmul(p, matmul(pt, dxt)))));
            return right - matmul(p, matmul(d[0], p)) + outside(p, in[0], matmul(dxt, matmul(pt, p)));
        });
}

LstsqResult lstsq(const Tensor& a, const Tensor& b, std::optional<double> rtol, LeastSquares method) {
    check_matrices("lstsq", a);
    check_operands("lstsq", a, b);
    const bool vector = b.rank() == 1;
    Tensor columns = vector ? expand_dims(b, -1) : b;
    check_matrices("lstsq", columns);
    if (columns.extent(-2) != a.extent(-2))
        throw ShapeError(text("lstsq of ", described(a), " and ", described(b), ": b has as many rows as a"));
    check_batches("lstsq", a, columns);
    const DType t = promoted("lstsq", a, b);
    columns = astype(columns, t);
    const Tensor matrix = astype(a, t);
    LstsqResult result = method == LeastSquares::qr ? by_qr(matrix, columns) : by_svd(matrix, columns, rtol);
    result.residuals = sum(square(matmul(matrix, result.x) - columns), -2);
    if (vector) {
        result.x = squeeze(result.x, {-1});
        result.residuals = squeeze(result.residuals, {-1});
    }
    return result;
}

}  // namespace tenon::linalg
