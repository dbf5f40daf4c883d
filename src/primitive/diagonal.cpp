// diagonal: elements (i, i + k) of the matrices of the last two axes.
#include <algorithm>

#include "base/text.h"
#include "primitive/operands.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/functions.h"

namespace tenon {
namespace {

/// Where the k-th diagonal of a matrix starts, and its elements.
struct Line {
    std::int64_t row, column, count;
};
Line line_of(const Shape& s, std::int64_t k) {
    const std::int64_t rows = s[s.rank() - 2], columns = s[s.rank() - 1];
    const std::int64_t row = -std::clamp<std::int64_t>(k, -rows, 0), column = std::clamp<std::int64_t>(k, 0, columns);
    return {row, column, std::min(rows - row, columns - column)};
}

Shape shape_of(const Shape& s, std::int64_t last) {
    Shape out = s;
    out.erase(out.rank() - 1);
    out[out.rank() - 1] = last;
    return out;
}

constexpr Primitive kDiagonal{
    .name = "diagonal",
    .doc = "The k-th diagonals of the last two axes, as the last axis.",
    .role = Role::view,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            return Signature{shape_of(in[0].shape(), line_of(in[0].shape(), a[0]).count), in[0].dtype()};
        },
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint =
        [](const AdjointContext& c) {
            // Row after row, elements of a diagonal are a row and a column apart.
            const Shape& s = c.in[0].shape();
            const Line line = line_of(s, c.node.attributes[0]);
            const int last = s.rank() - 2;
            const std::int64_t columns = s[last + 1], all = s[last] * columns;
            Extents low(last + 1, 0), high = low, interior = low;
            low[last] = line.count ? line.row * columns + line.column : 0;
            high[last] = line.count ? all - low[last] - (line.count - 1) * (columns + 1) - 1 : all;
            interior[last] = columns;
            return reshape(pad(c.ct, low, high, interior), s);
        },
    .view =
        [](const Node& n, const Layout& in, Layout& out) {
            const Line line = line_of(in.shape, n.attributes[0]);
            const int last = in.rank() - 2;
            out = in;
            out.shape = n.shape;
            if (line.count > 0) out.offset += line.row * in.strides[last] + line.column * in.strides[last + 1];
            out.strides[last] = in.strides[last] + in.strides[last + 1];
            out.strides.erase(last + 1);
            return true;
        },
    .reference = copy_view,
    .samples =
        [] {
            return std::vector{
                Sample{{{2, 4, 3}}, -1, 1, [](std::span<const Tensor> in) { return diagonal(in[0], -1); }},
                Sample{{{5, 3, 4}}, -1, 1, [](std::span<const Tensor> in) {
                           return diagonal(transpose(in[0], {1, 2, 0}), 2);
                       }}};
        },
};
const Register registered(kDiagonal);

}  // namespace

Tensor diagonal(const Tensor& x, std::int64_t k) {
    check_defined("diagonal", x);
    if (x.rank() < 2) throw ShapeError(text("diagonal of ", to_string(x.shape()), ": a matrix has two axes"));
    return record(kDiagonal, {&x, 1}, Attributes{k});
}

}  // namespace tenon
