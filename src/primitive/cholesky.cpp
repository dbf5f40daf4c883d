// cholesky: the lower triangular factor of symmetric positive definite matrices (Array API: linalg.cholesky).
#include "factorization/factorization.h"
#include "primitive/factorization.h"
#include "tenon/functions.h"
#include "tenon/linalg.h"

namespace tenon {
namespace {

// dL = L phi(L^-1 dA L^-T), phi the lower triangle with half of the diagonal (Murray, "Differentiation of the Cholesky
// decomposition", 2016).
Tensor tangent(const TangentContext& c) {
    const Tensor& l = c.out;
    const Tensor half = linalg::triangular_solve(l, symmetric_part(c.d[0]), {.lower = true});
    const Tensor x = linalg::triangular_solve(l, half, {.left_side = false, .lower = true, .transpose_a = true});
    return matmul(l, 0.5 * (tril(x) + tril(x, -1)));
}

constexpr Primitive kCholesky{
    .name = "cholesky",
    .doc = "The lower triangular factor of symmetric positive definite matrices.",
    .infer =
        [](const Primitive& p, std::span<const Tensor> in, const Attributes&) {
            check_square(p.name, in[0]);
            return Signature{in[0].shape(), in[0].dtype()};
        },
    .derivative = Derivative::rule,
    .tangent = tangent,
    .cost = [](const Node& n) { return factorization_cost(n, 1.0 / 3); },
    .reference = [](const Node&, std::span<const View> in,
                    const View& out) { factorization::cholesky(in[0], out, true); },
    .run = [](const Node&, std::span<const View> in, const View& out) { factorization::cholesky(in[0], out, false); },
    .samples =
        [] {
            const auto of_definite = [](std::span<const Tensor> in) { return linalg::cholesky(definite(in[0], 1)); };
            return std::vector{Sample{{{3, 3}}, -1, 1, of_definite}, Sample{{{2, 5, 5}}, -1, 1, of_definite}};
        },
};
const Register registered(kCholesky);

}  // namespace

Tensor linalg::cholesky(const Tensor& x, bool upper) {
    const Tensor lower = record(kCholesky, {x});
    return upper ? matrix_transpose(lower) : lower;
}

}  // namespace tenon
