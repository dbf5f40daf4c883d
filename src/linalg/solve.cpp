// Linear systems, by LU and by Cholesky factors, and determinants.
#include "base/text.h"
#include "primitive/custom.h"
#include "primitive/factorization.h"
#include "primitive/operands.h"
#include "tenon/error.h"
#include "tenon/linalg.h"

namespace tenon::linalg {
namespace {

/// f(b) for b as columns, (..., n, m). A vector b is taken as one column, and the result is then a vector too.
template <class F>
Tensor with_columns(const char* op, const Tensor& a, const Tensor& b, const F& f) {
    check_square(op, a);
    check_operands(op, a, b);
    const bool vector = b.rank() == 1;
    const Tensor columns = vector ? expand_dims(b, -1) : b;
    check_matrices(op, columns);
    if (columns.extent(-2) != a.extent(-1))
        throw ShapeError(text(op, " of ", described(a), " and ", described(b), ": b has as many rows as a"));
    check_batches(op, a, columns);
    const Tensor x = f(columns);
    return vector ? squeeze(x, {-1}) : x;
}

/// The rows of b in the order of the permutation; their batches broadcast.
Tensor permuted(const Tensor& permutation, const Tensor& b) {
    Shape batch = permutation.shape();
    const std::int64_t n = batch.back();
    batch.erase(batch.rank() - 1);
    Shape whole = broadcast_shapes(batch, with_batch_of(b, {}), "lu_solve");
    whole.push_back(n);
    whole.push_back(1);
    const Tensor rows = broadcast_to(expand_dims(permutation, -1), whole);
    whole[whole.rank() - 1] = b.extent(-1);
    return take_along_axis(broadcast_to(b, whole), rows, -2);
}

Tensor solved(const LuFactor& f, const Tensor& b) {
    const DType t = promoted("lu_solve", f.lu, b);
    const Tensor lu = astype(f.lu, t);
    const Tensor y =
        triangular_solve(lu, permuted(f.permutation, astype(b, t)), {.lower = true, .unit_diagonal = true});
    return triangular_solve(lu, y);
}

/// The factors as constants: for a result whose derivative is given separately.
LuFactor constant_factor(const LuFactor& f) { return {stop_gradient(f.lu), f.permutation}; }

/// 1 for even permutations, -1 for odd ones: by the number of pairs that are out of order.
Tensor parity(const Tensor& permutation, DType t) {
    const Tensor later = less(expand_dims(permutation, -2), expand_dims(permutation, -1));
    const Tensor pairs = sum(tril(astype(matrix_transpose(later), DType::int64), -1), {-2, -1});
    return astype(1 - 2 * bitwise_and(pairs, 1), t);
}

Tensor trace_of_solution(const LuFactor& f, const Tensor& d) { return trace(solved(f, d)); }

}  // namespace

LuResult lu(const Tensor& x) {
    const auto [factors, permutation] = lu_factor(x);
    const std::int64_t m = x.extent(-2), n = x.extent(-1), k = std::min(m, n);
    const int rank = x.rank();
    Extents start(rank, 0), columns = x.shape(), rows = x.shape();
    columns[rank - 1] = k;
    rows[rank - 2] = k;
    const Extents step(rank, 1);
    const Tensor l = tril(slice(factors, start, columns, step), -1) + eye(m, k, 0, x.dtype());
    // Row i of L U is row permutation[i] of x: column i of P has its one there.
    const Tensor p = astype(equal(iota(m, DType::int64), expand_dims(permutation, -1)), x.dtype());
    return {matrix_transpose(p), l, triu(slice(factors, start, rows, step))};
}

Tensor lu_solve(const LuFactor& factor, const Tensor& b) {
    return with_columns("lu_solve", factor.lu, b, [&](const Tensor& x) { return solved(factor, x); });
}

Tensor cholesky_solve(const Tensor& factor, const Tensor& b, bool upper) {
    return with_columns("cholesky_solve", factor, b, [&](const Tensor& x) {
        const Tensor y = triangular_solve(factor, x, {.lower = !upper, .transpose_a = upper});
        return triangular_solve(factor, y, {.lower = !upper, .transpose_a = !upper});
    });
}

// dX = a^-1 (db - da X). The derivative of the factors, which costs more, is needed for second derivatives only.
Tensor solve(const Tensor& a, const Tensor& b) {
    return with_columns("solve", a, b, [&](const Tensor& columns) {
        const LuFactor f = lu_factor(a);
        return with_custom_tangent(solved(constant_factor(f), columns), std::vector<Tensor>{a, columns},
                                   [f](std::span<const Tensor>, const Tensor& x, std::span<const Tensor> d) {
                                       return solved(f, d[1] - matmul(d[0], x));
                                   });
    });
}

Tensor inv(const Tensor& x) {
    check_square("inv", x);
    return solve(x, eye(x.extent(-1), {}, 0, x.dtype()));
}

SlogdetResult slogdet(const Tensor& x) {
    check_square("slogdet", x);
    const LuFactor f = lu_factor(x);
    const Tensor u = diagonal(stop_gradient(f.lu));
    const Tensor s = prod(sign(u), -1) * parity(f.permutation, x.dtype());
    const auto rule = [f](std::span<const Tensor>, const Tensor&, std::span<const Tensor> d) {
        return trace_of_solution(f, d[0]);
    };
    return {s, with_custom_tangent(sum(log(abs(u)), -1), std::vector<Tensor>{x}, rule)};
}

Tensor det(const Tensor& x) {
    check_square("det", x);
    const LuFactor f = lu_factor(x);
    const Tensor value = prod(diagonal(stop_gradient(f.lu)), -1) * parity(f.permutation, x.dtype());
    return with_custom_tangent(value, std::vector<Tensor>{x},
                               [f](std::span<const Tensor>, const Tensor& out, std::span<const Tensor> d) {
                                   return out * trace_of_solution(f, d[0]);
                               });
}

}  // namespace tenon::linalg
