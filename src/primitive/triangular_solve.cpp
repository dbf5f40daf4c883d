// triangular_solve: op(A) X = B, or X op(A) = B, of triangular A, by the recursion of product::trsm.
#include <algorithm>

#include "base/parallel.h"
#include "base/text.h"
#include "factorization/factorization.h"
#include "primitive/factorization.h"
#include "primitive/operands.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/linalg.h"
#include "tenon/product.h"
#include "tenon/threads.h"

namespace tenon {
namespace {

constexpr std::int64_t kRight = 1, kLower = 2, kTranspose = 4, kUnit = 8;

Signature infer(const Primitive& p, std::span<const Tensor> in, const Attributes& flags) {
    check_square(p.name, in[0]);
    check_matrices(p.name, in[1]);
    const Tensor &a = in[0], &b = in[1];
    const bool right = (flags[0] & kRight) != 0;
    const std::int64_t n = a.extent(-1), side = right ? b.extent(-1) : b.extent(-2);
    if (a.dtype() != b.dtype())
        throw TypeError(text(p.name, " of ", described(a), " and ", described(b), ": the dtypes differ"));
    if (n != side || with_batch_of(a, {}) != with_batch_of(b, {}))
        throw ShapeError(text(p.name, " of ", described(a), " and ", described(b), ": a (..., n, n) stands on the ",
                              right ? "right of b (..., m, n)" : "left of b (..., n, m)"));
    return {b.shape(), b.dtype()};
}

product::Matrix matrix_of(const View& v, std::int64_t index) {
    const Layout& l = v.layout;
    const int rank = l.rank();
    std::int64_t offset = 0;
    for (int axis = rank - 3; axis >= 0; --axis) {
        offset += index % l.shape[axis] * l.strides[axis];
        index /= l.shape[axis];
    }
    return {static_cast<std::byte*>(v.data) + offset * static_cast<std::int64_t>(size_of(v.dtype)),
            v.dtype,
            l.shape[rank - 2],
            l.shape[rank - 1],
            l.strides[rank - 2],
            l.strides[rank - 1]};
}

/// One call of trsm for each system.
void solve_each(const Node& node, std::span<const View> in, const View& out) {
    copy(in[1], out);
    const std::int64_t flags = node.attributes[0], n = in[0].shape().back(), elements = out.layout.count();
    if (elements == 0) return;
    const std::int64_t rows = out.shape()[out.layout.rank() - 2], batch = elements / (rows * out.shape().back());
    const auto solve = [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const product::Matrix a = matrix_of(in[0], i);
            const bool lower = ((flags & kLower) != 0) != ((flags & kTranspose) != 0);
            product::trsm(flags & kRight ? product::Side::right : product::Side::left,
                          lower ? product::Triangle::lower : product::Triangle::upper,
                          flags & kUnit ? product::Diagonal::unit : product::Diagonal::stored, 1,
                          flags & kTranspose ? a.transpose() : a, matrix_of(out, i));
        }
    };
    // A few large systems have threads of their own.
    constexpr std::int64_t kTaskWork = 1 << 16;
    if (batch < num_threads()) return solve(0, batch);
    parallel_for(batch, std::max<std::int64_t>(1, kTaskWork / (elements / batch * n)), solve);
}

void evaluate(const Node& node, std::span<const View> in, const View& out) {
    const std::int64_t flags = node.attributes[0];
    const int rank = out.layout.rank();
    const std::int64_t rows = out.shape()[rank - 2], columns = out.shape()[rank - 1];
    const bool several = out.layout.count() > rows * columns;
    if (!several || rows > factorization::kSmall || columns > factorization::kSmall) return solve_each(node, in, out);
    factorization::solve(
        in[0], in[1], out,
        {(flags & kRight) != 0, (flags & kLower) != 0, (flags & kTranspose) != 0, (flags & kUnit) != 0});
}

// X = A^-1 B: dX = A^-1 (dB - dA X).
Tensor tangent(const TangentContext& c) {
    const std::int64_t flags = c.node.attributes[0];
    Tensor rhs = c.d[1];
    if (c.d[0].defined()) {
        const std::int64_t unit = flags & kUnit ? 1 : 0;
        Tensor da = flags & kLower ? tril(c.d[0], -unit) : triu(c.d[0], unit);
        if (flags & kTranspose) da = matrix_transpose(da);
        const Tensor moved = flags & kRight ? matmul(c.out, da) : matmul(da, c.out);
        rhs = rhs.defined() ? rhs - moved : -moved;
    }
    return record(*c.node.primitive, {c.in[0], rhs}, {flags});
}

template <std::int64_t flags>
Tensor sample(std::span<const Tensor> in) {
    // The diagonal is far from 0.
    const Tensor a = in[0] + 3 * eye(in[0].extent(-1), {}, 0, in[0].dtype());
    return linalg::triangular_solve(
        a, in[1], {(flags & kRight) == 0, (flags & kLower) != 0, (flags & kTranspose) != 0, (flags & kUnit) != 0});
}

constexpr Primitive kTriangularSolve{
    .name = "triangular_solve",
    .doc = "Solutions of triangular systems.",
    .infer = infer,
    .derivative = Derivative::rule,
    .linear = 2,
    .tangent = tangent,
    .adjoint =
        [](const AdjointContext& c) {
            return record(*c.node.primitive, {c.in[0], c.ct}, {c.node.attributes[0] ^ kTranspose});
        },
    .cost =
        [](const Node& n) {
            const double elements = static_cast<double>(count(n.shape)),
                         order = static_cast<double>(n.inputs[0]->shape.back());
            return Cost{elements * order, (2 * elements + order * order / 2) * static_cast<double>(size_of(n.dtype))};
        },
    .reference = solve_each,
    .run = evaluate,
    .samples =
        [] {
            return std::vector{Sample{{{3, 3}, {3, 2}}, -1, 1, sample<kLower>},
                               Sample{{{2, 3, 3}, {2, 3, 2}}, -1, 1, sample<kTranspose>},
                               Sample{{{3, 3}, {2, 3}}, -1, 1, sample<kRight | kUnit>},
                               Sample{{{3, 7, 7}, {3, 7, 6}}, -1, 1, sample<0>},
                               Sample{{{3, 7, 7}, {3, 5, 7}}, -1, 1, sample<kRight | kLower>},
                               Sample{{{2, 1, 3, 3}, {3, 2, 3}}, -1, 1, sample<kRight | kLower | kTranspose>}};
        },
};
const Register registered(kTriangularSolve);

}  // namespace

Tensor linalg::triangular_solve(const Tensor& a, const Tensor& b, const TriangularSolveOptions& o) {
    constexpr const char* kName = "triangular_solve";
    check_square(kName, a);
    check_matrices(kName, b);
    const DType t = promoted(kName, a, b);
    const Shape batch = check_batches(kName, a, b);
    const auto whole = [&](const Tensor& x) {
        Shape s = batch;
        s.push_back(x.extent(-2));
        s.push_back(x.extent(-1));
        return broadcast_to(astype(x, t), s);
    };
    return record(kTriangularSolve, {whole(a), whole(b)},
                  {(o.left_side ? 0 : kRight) | (o.lower ? kLower : 0) | (o.transpose_a ? kTranspose : 0) |
                   (o.unit_diagonal ? kUnit : 0)});
}

}  // namespace tenon
