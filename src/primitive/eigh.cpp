// eigh: eigenvalues and eigenvectors of symmetric matrices (Array API: linalg.eigh, linalg.eigvalsh).
#include "factorization/factorization.h"
#include "primitive/factorization.h"
#include "tenon/functions.h"
#include "tenon/linalg.h"

namespace tenon {
namespace {

constexpr std::int64_t kValues = 0, kVectors = 1;

std::vector<Sample> samples() {
    // The eigenvalues are far apart, so that the finite differences of the vectors are accurate.
    const auto spread = [](const Tensor& x) {
        const std::int64_t n = x.extent(-1);
        return 0.2 * symmetric_part(x) + eye(n, {}, 0, x.dtype()) * astype(iota(n, DType::int64), x.dtype());
    };
    static const auto of = spread;
    const auto values = [](std::span<const Tensor> in) { return linalg::eigh(of(in[0])).eigenvalues; };
    const auto vectors = [](std::span<const Tensor> in) { return linalg::eigh(of(in[0])).eigenvectors; };
    const auto alone = [](std::span<const Tensor> in) { return linalg::eigvalsh(of(in[0])); };
    return {Sample{{{2, 4, 4}}, -1, 1, values}, Sample{{{2, 4, 4}}, -1, 1, vectors}, Sample{{{5, 5}}, -1, 1, alone}};
}

constexpr Primitive kEigh{
    .name = "eigh",
    .doc = "Eigenvalues, ascending, and eigenvectors of symmetric matrices, in one vector.",
    .infer =
        [](const Primitive& p, std::span<const Tensor> in, const Attributes& a) {
            check_square(p.name, in[0]);
            return Signature{with_batch_of(in[0], {factorization::eigh_size(in[0].extent(-1), a[0] != 0)}),
                             in[0].dtype()};
        },
    .derivative = Derivative::none,
    .cost = [](const Node& n) { return factorization_cost(n, n.attributes[0] ? 9 : 4.0 / 3); },
    .reference = [](const Node& n, std::span<const View> in,
                    const View& out) { factorization::eigh(in[0], out, n.attributes[0] != 0, true); },
    .run = [](const Node& n, std::span<const View> in,
              const View& out) { factorization::eigh(in[0], out, n.attributes[0] != 0, false); },
    .samples = samples,
};
const Register registered(kEigh);

linalg::EighResult parts_of(const Primitive& part, const Tensor& all, const Tensor& x) {
    const std::int64_t n = x.extent(-1);
    return {record_part(part, all, x, {kValues, 0, n, -1, 1}), record_part(part, all, x, {kVectors, n, n, n, 1})};
}

// dw = diag(V^T dA V), dV = V (F o V^T dA V), F[i, j] = 1 / (w[j] - w[i]), and 0 where these are equal (Giles,
// "Collected matrix derivative results", 2008).
Tensor tangent(const TangentContext& c) {
    const Tensor da = symmetric_part(c.d[1]);
    const auto [w, v] = flags_of_part(c.node) ? parts_of(*c.node.primitive, c.in[0], c.in[1]) : linalg::eigh(c.in[1]);
    const Tensor turned = matmul(da, v);
    if (which_part(c.node) == kValues) return reduce_sum(v * turned, {v.rank() - 2});
    const Tensor f = inverse_or_zero(expand_dims(w, -2) - expand_dims(w, -1));
    return matmul(v, f * matmul(matrix_transpose(v), turned));
}

constexpr Primitive kPart =
    part("eigh_part", "A result of eigh: the eigenvalues or the eigenvectors.", tangent, samples);
const Register registered_part(kPart);

}  // namespace

linalg::EighResult linalg::eigh(const Tensor& x) { return parts_of(kPart, record(kEigh, {x}, {1}), x); }

Tensor linalg::eigvalsh(const Tensor& x) {
    check_square("eigvalsh", x);
    const Tensor all = record(kEigh, {x}, {0});
    return record_part(kPart, all, x, {kValues, 0, x.extent(-1), -1});
}

}  // namespace tenon
