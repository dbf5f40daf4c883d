// lu: L, U and the permutation of elimination with partial pivoting.
#include "factorization/factorization.h"
#include "primitive/factorization.h"
#include "tenon/functions.h"
#include "tenon/linalg.h"

namespace tenon {
namespace {

constexpr std::int64_t kFactors = 0, kPermutation = 1;

std::vector<Sample> samples() {
    const auto factors = [](std::span<const Tensor> in) {
        // The permutation does not change when the elements change a little.
        return linalg::lu_factor(in[0] + 4 * flip(eye(in[0].extent(-2), in[0].extent(-1), 0, in[0].dtype()), {0})).lu;
    };
    return {Sample{{{4, 4}}, -1, 1, factors}, Sample{{{2, 3, 5}}, -1, 1, factors}, Sample{{{2, 5, 3}}, -1, 1, factors}};
}

constexpr Primitive kLu{
    .name = "lu",
    .doc = "L and U of elimination with partial pivoting, and the permutation, in one vector.",
    .infer =
        [](const Primitive& p, std::span<const Tensor> in, const Attributes&) {
            check_matrices(p.name, in[0]);
            const std::int64_t size = factorization::lu_size(in[0].extent(-2), in[0].extent(-1));
            return Signature{with_batch_of(in[0], {size}), in[0].dtype()};
        },
    .derivative = Derivative::none,
    .cost = [](const Node& n) { return factorization_cost(n, 2.0 / 3); },
    .reference = [](const Node&, std::span<const View> in, const View& out) { factorization::lu(in[0], out, true); },
    .run = [](const Node&, std::span<const View> in, const View& out) { factorization::lu(in[0], out, false); },
    .samples = samples,
};
const Register registered(kLu);

// For P A = L U, square or completed to a square by columns (rows) of a unit matrix:
// L^-1 P dA U^-1 = L^-1 dL + dU U^-1, strictly lower and upper.
Tensor tangent(const TangentContext& c) {
    if (which_part(c.node) == kPermutation) return {};
    const DType t = c.out.dtype();
    const std::int64_t m = c.out.extent(-2), n = c.out.extent(-1), k = std::min(m, n);
    const int rank = c.out.rank();
    const Tensor permutation =
        astype(record_part(*c.node.primitive, c.in[0], c.in[1], {kPermutation, m * n, m, -1}), DType::int64);
    const Tensor x = take_along_axis(c.d[1], expand_dims(permutation, -1), -2);
    const auto padded = [&](const Tensor& part, int axis, std::int64_t more) {
        Extents low(rank, 0), high(rank, 0);
        high[axis] = more;
        return pad(part, low, high);
    };
    const auto first = [&](int axis) {
        Extents start(rank, 0), stop = c.out.shape();
        stop[axis] = k;
        return slice(c.out, start, stop, Extents(rank, 1));
    };
    const Tensor l = padded(tril(first(rank - 1), -1), rank - 1, m - k) + eye(m, {}, 0, t);
    const Tensor u = padded(triu(first(rank - 2)), rank - 2, n - k) + pad(eye(n - k, {}, 0, t), {k, k}, {0, 0});
    const Tensor inner = linalg::triangular_solve(
        u, linalg::triangular_solve(l, x, {.lower = true, .unit_diagonal = true}), {.left_side = false});
    return matmul(l, tril(inner, -1)) + matmul(triu(inner), u);
}

constexpr Primitive kPart =
    part("lu_part", "A result of lu: the factors in one matrix, or the permutation.", tangent, samples);
const Register registered_part(kPart);

}  // namespace

linalg::LuFactor linalg::lu_factor(const Tensor& x) {
    const Tensor all = record(kLu, {x});
    const std::int64_t m = x.extent(-2), n = x.extent(-1);
    return {record_part(kPart, all, x, {kFactors, 0, m, n}),
            astype(record_part(kPart, all, x, {kPermutation, m * n, m, -1}), DType::int64)};
}

}  // namespace tenon
