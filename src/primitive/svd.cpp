// svd: singular values and vectors (Array API: linalg.svd, linalg.svdvals).
#include "base/text.h"
#include "factorization/factorization.h"
#include "primitive/factorization.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/linalg.h"

namespace tenon {
namespace {

constexpr std::int64_t kS = 0, kU = 1, kVh = 2;
constexpr std::int64_t kVectors = 1, kFull = 2;

std::vector<Sample> samples() {
    // The singular values are far from each other and from 0.
    static const auto of = [](const Tensor& x) {
        const std::int64_t m = x.extent(-2), n = x.extent(-1);
        return 0.2 * x + eye(m, n, 0, x.dtype()) * astype(iota(n, DType::int64) + 1, x.dtype());
    };
    const auto u = [](std::span<const Tensor> in) { return linalg::svd(of(in[0]), false).u; };
    const auto s = [](std::span<const Tensor> in) { return linalg::svd(of(in[0])).s; };
    const auto vh = [](std::span<const Tensor> in) { return linalg::svd(of(in[0]), false).vh; };
    const auto values = [](std::span<const Tensor> in) { return linalg::svdvals(of(in[0])); };
    return {Sample{{{2, 4, 3}}, -1, 1, u},  Sample{{{2, 3, 4}}, -1, 1, u},     Sample{{{2, 4, 3}}, -1, 1, vh},
            Sample{{{2, 3, 4}}, -1, 1, vh}, Sample{{{3, 3}}, -1, 1, u},        Sample{{{3, 3}}, -1, 1, vh},
            Sample{{{2, 4, 3}}, -1, 1, s},  Sample{{{2, 3, 5}}, -1, 1, values}};
}

void evaluate(const Node& n, const View& x, const View& out, bool reference) {
    factorization::svd(x, out, (n.attributes[0] & kVectors) != 0, (n.attributes[0] & kFull) != 0, reference);
}

constexpr Primitive kSvd{
    .name = "svd",
    .doc = "Singular values, descending, and vectors, in one vector.",
    .infer =
        [](const Primitive& p, std::span<const Tensor> in, const Attributes& a) {
            check_matrices(p.name, in[0]);
            const std::int64_t size = factorization::svd_size(in[0].extent(-2), in[0].extent(-1),
                                                              (a[0] & kVectors) != 0, (a[0] & kFull) != 0);
            return Signature{with_batch_of(in[0], {size}), in[0].dtype()};
        },
    .derivative = Derivative::none,
    .cost = [](const Node& n) { return factorization_cost(n, n.attributes[0] ? 20 : 4); },
    .reference = [](const Node& n, std::span<const View> in, const View& out) { evaluate(n, in[0], out, true); },
    .run = [](const Node& n, std::span<const View> in, const View& out) { evaluate(n, in[0], out, false); },
    .samples = samples,
};
const Register registered(kSvd);

linalg::SvdResult parts_of(const Primitive& part, const Tensor& all, const Tensor& x, std::int64_t flags) {
    const std::int64_t m = x.extent(-2), n = x.extent(-1), k = std::min(m, n);
    const std::int64_t left = flags & kFull ? m : k, right = flags & kFull ? n : k;
    return {record_part(part, all, x, {kU, k, m, left, flags}), record_part(part, all, x, {kS, 0, k, -1, flags}),
            record_part(part, all, x, {kVh, k + m * left, right, n, flags})};
}

// With P = U^T dA V: dS = diag(P), dU = U (F o (P S + S P^T)) and dV = V (F o (S P + P^T S)), F[i, j] = 1 / (s[j]^2 -
// s[i]^2), plus the part outside the span of U (V) divided by S. A division by 0 gives 0 here (Giles, 2008;
// Townsend, "Differentiating the singular value decomposition", 2016).
Tensor tangent(const TangentContext& c) {
    const Tensor &x = c.in[1], &dx = c.d[1];
    const std::int64_t m = x.extent(-2), n = x.extent(-1), which = which_part(c.node);
    if ((flags_of_part(c.node) & kFull) && ((which == kU && m > n) || (which == kVh && n > m)))
        throw ValueError(text("svd of ", to_string(x.shape()), ": the vectors that complete ", which == kU ? "U" : "Vh",
                              " have no derivative; full_matrices = false has one"));
    const auto [u, s, vh] =
        flags_of_part(c.node) == kVectors ? parts_of(*c.node.primitive, c.in[0], x, kVectors) : linalg::svd(x, false);
    const Tensor v = matrix_transpose(vh), dxv = matmul(dx, v);
    if (which == kS) return reduce_sum(u * dxv, {u.rank() - 2});
    const Tensor p = matmul(matrix_transpose(u), dxv), pt = matrix_transpose(p);
    const Tensor row = expand_dims(s, -2), column = expand_dims(s, -1), inverse = inverse_or_zero(row);
    const Tensor f = inverse_or_zero((row - column) * (row + column));
    if (which == kU) {
        const Tensor inside = matmul(u, f * (p * row + column * pt));
        return m > n ? inside + (dxv - matmul(u, p)) * inverse : inside;
    }
    Tensor dv = matmul(v, f * (column * p + pt * row));
    if (n > m) dv = dv + (matmul(matrix_transpose(dx), u) - matmul(v, pt)) * inverse;
    return matrix_transpose(dv);
}

constexpr Primitive kPart =
    part("svd_part", "A result of svd: the singular values, the left or the right vectors.", tangent, samples);
const Register registered_part(kPart);

}  // namespace

linalg::SvdResult linalg::svd(const Tensor& x, bool full_matrices) {
    check_matrices("svd", x);
    const std::int64_t flags = kVectors | (full_matrices && x.extent(-2) != x.extent(-1) ? kFull : 0);
    return parts_of(kPart, record(kSvd, {x}, {flags}), x, flags);
}

Tensor linalg::svdvals(const Tensor& x) {
    check_matrices("svdvals", x);
    const Tensor all = record(kSvd, {x}, {0});
    return record_part(kPart, all, x, {kS, 0, std::min(x.extent(-2), x.extent(-1)), -1});
}

}  // namespace tenon
