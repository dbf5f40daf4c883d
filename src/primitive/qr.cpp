// qr: orthogonal columns times an upper triangle, of matrices that are not wide (Array API: linalg.qr; src/linalg has
// the wide ones).
#include "base/text.h"
#include "factorization/factorization.h"
#include "primitive/factorization.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/linalg.h"

namespace tenon {
namespace {

constexpr std::int64_t kQ = 0, kR = 1;

linalg::QrResult computed(const Tensor& x, bool full);

std::vector<Sample> samples() {
    const auto q = [](std::span<const Tensor> in) { return computed(in[0], false).q; };
    const auto r = [](std::span<const Tensor> in) { return computed(in[0], false).r; };
    const auto full = [](std::span<const Tensor> in) { return computed(in[0], true).r; };
    return {Sample{{{3, 3}}, -1, 1, q}, Sample{{{2, 5, 3}}, -1, 1, q}, Sample{{{2, 5, 3}}, -1, 1, r},
            Sample{{{4, 2}}, -1, 1, full}};
}

constexpr Primitive kQr{
    .name = "qr",
    .doc = "Orthonormal columns Q and the upper triangle R of Q R, in one vector.",
    .infer =
        [](const Primitive& p, std::span<const Tensor> in, const Attributes& a) {
            check_matrices(p.name, in[0]);
            const std::int64_t m = in[0].extent(-2), n = in[0].extent(-1);
            return Signature{with_batch_of(in[0], {factorization::qr_size(m, n, a[0] != 0)}), in[0].dtype()};
        },
    .derivative = Derivative::none,
    .cost = [](const Node& n) { return factorization_cost(n, 8.0 / 3); },
    .reference = [](const Node& n, std::span<const View> in,
                    const View& out) { factorization::qr(in[0], out, n.attributes[0] != 0, true); },
    .run = [](const Node& n, std::span<const View> in,
              const View& out) { factorization::qr(in[0], out, n.attributes[0] != 0, false); },
    .samples = samples,
};
const Register registered(kQr);

linalg::QrResult parts_of(const Primitive& part, const Tensor& all, const Tensor& x, bool full) {
    const std::int64_t m = x.extent(-2), n = x.extent(-1), columns = full ? m : n;
    return {record_part(part, all, x, {kQ, 0, m, columns, full}),
            record_part(part, all, x, {kR, m * columns, n, n, full})};
}

// With X = Q^T dA R^-1 and the skew W = tril(X, -1) - tril(X, -1)^T: dQ = Q (W - X) + dA R^-1, dR = (X - W) R (Walter
// and Lehmann, "Algorithmic differentiation of linear algebra functions", 2010).
Tensor tangent(const TangentContext& c) {
    const bool full = flags_of_part(c.node) != 0;
    if (full && which_part(c.node) == kQ)
        throw ValueError(text("qr of ", to_string(c.in[1].shape()),
                              ": the columns that complete Q have no derivative; mode reduced has one"));
    const auto [q, r] = full ? computed(c.in[1], false) : parts_of(*c.node.primitive, c.in[0], c.in[1], false);
    const Tensor scaled = linalg::triangular_solve(r, c.d[1], {.left_side = false});
    const Tensor x = matmul(matrix_transpose(q), scaled), lower = tril(x, -1);
    const Tensor skew = lower - matrix_transpose(lower);
    return which_part(c.node) == kQ ? matmul(q, skew - x) + scaled : matmul(x - skew, r);
}

constexpr Primitive kPart = part("qr_part", "A result of qr: Q or R.", tangent, samples);
const Register registered_part(kPart);

linalg::QrResult computed(const Tensor& x, bool full) { return parts_of(kPart, record(kQr, {x}, {full}), x, full); }

}  // namespace

linalg::QrResult linalg::qr(const Tensor& x, QrMode mode) {
    check_matrices("qr", x);
    const std::int64_t m = x.extent(-2), n = x.extent(-1);
    const int rank = x.rank();
    if (m >= n) {
        QrResult result = computed(x, mode == QrMode::complete && m > n);
        if (mode == QrMode::complete) {
            Extents low(rank, 0), high(rank, 0);
            high[rank - 2] = m - n;
            result.r = pad(result.r, low, high);
        }
        return result;
    }
    // Q of the first m columns; the others are multiplied by its transpose.
    Extents start(rank, 0), stop = x.shape();
    stop[rank - 1] = m;
    const Tensor square = slice(x, start, stop, Extents(rank, 1));
    start[rank - 1] = m;
    const Tensor rest = slice(x, start, x.shape(), Extents(rank, 1));
    const auto [q, r] = computed(square, false);
    return {q, concat({r, matmul(matrix_transpose(q), rest)}, -1)};
}

}  // namespace tenon
