#include "primitive/factorization.h"

#include <algorithm>

#include "base/text.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "tenon/error.h"
#include "tenon/functions.h"

namespace tenon {

void check_matrices(std::string_view op, const Tensor& x) {
    check_defined(op, x);
    if (x.dtype() != DType::float32 && x.dtype() != DType::float64)
        throw TypeError(text(op, " of ", described(x), ": defined for float32 and float64"));
    if (x.rank() < 2) throw ShapeError(text(op, " of ", described(x), ": a matrix has two axes"));
}

void check_square(std::string_view op, const Tensor& x) {
    check_matrices(op, x);
    if (x.extent(-1) != x.extent(-2)) throw ShapeError(text(op, " of ", described(x), ": the matrix is not square"));
}

Cost factorization_cost(const Node& n, double flops) {
    const Shape& s = n.inputs[0]->shape;
    const double elements = static_cast<double>(count(s)),
                 side = static_cast<double>(std::min(s.back(), s[s.rank() - 2]));
    return {elements * side * flops, 2 * elements * static_cast<double>(size_of(n.dtype))};
}

Shape with_batch_of(const Tensor& x, std::initializer_list<std::int64_t> core) {
    Shape s = x.shape();
    s.erase(s.rank() - 1);
    s.erase(s.rank() - 1);
    for (std::int64_t e : core) s.push_back(e);
    return s;
}

Shape check_batches(std::string_view op, const Tensor& a, const Tensor& b) {
    try {
        return broadcast_shapes(with_batch_of(a, {}), with_batch_of(b, {}), "batches");
    } catch (const ShapeError& e) {
        throw ShapeError(text(op, " of ", described(a), " and ", described(b), ": ", e.what()));
    }
}

Tensor record_part(const Primitive& p, const Tensor& all, const Tensor& x, const Part& part) {
    return record(p, {all, x}, {part.which, part.offset, part.rows, part.columns, part.flags});
}

Signature infer_part(const Primitive&, std::span<const Tensor> in, const Attributes& a) {
    Shape s = with_batch_of(in[1], {a[2]});
    if (a[3] >= 0) s.push_back(a[3]);
    return {s, in[1].dtype()};
}

bool view_part(const Node& n, const Layout& in, Layout& out) {
    out = in;
    const std::int64_t step = in.strides[in.rank() - 1];
    out.shape.erase(in.rank() - 1);
    out.strides.erase(in.rank() - 1);
    out.offset += n.attributes[1] * step;
    out.shape.push_back(n.attributes[2]);
    if (n.attributes[3] < 0) {
        out.strides.push_back(step);
    } else {
        out.strides.push_back(n.attributes[3] * step);
        out.shape.push_back(n.attributes[3]);
        out.strides.push_back(step);
    }
    return true;
}

Tensor symmetric_part(const Tensor& x) { return 0.5 * (x + matrix_transpose(x)); }

Tensor inverse_or_zero(const Tensor& x) {
    const Tensor zero = equal(x, 0);
    return select(zero, constant(0, x.dtype()), 1 / select(zero, constant(1, x.dtype()), x));
}

Tensor definite(const Tensor& x, double shift) {
    return matmul(x, matrix_transpose(x)) + shift * eye(x.extent(-1), {}, 0, x.dtype());
}

}  // namespace tenon
