// cumulative_prod: running products along an axis, in sequence.
#include "primitive/cumulative.h"
#include "primitive/leaf.h"

namespace tenon {
namespace {

// d out[i] = sum over j <= i of dx[j] * (product of the other elements up to i). The products are computed for each j,
// with x[j] replaced by 1: that is right also if elements are zero, but takes n^2 products.
Tensor tangent(const TangentContext& c) {
    const int axis = static_cast<int>(c.node.attributes[0]);
    const Tensor& x = c.in[0];
    const std::int64_t n = x.shape()[axis];
    Axes order;
    for (int i = 0; i < x.rank(); ++i)
        if (i != axis) order.push_back(i);
    order.push_back(axis);
    const auto rows = [&](const Tensor& t) { return reshape(transpose(t, order), {n ? x.size() / n : 0, n}); };
    const std::int64_t m = n ? x.size() / n : 0;
    const Tensor j = reshape(iota(n, DType::int64), {n, 1}), i = reshape(iota(n, DType::int64), {1, n});
    const Tensor others = select(equal(j, i), Tensor(1.0), reshape(rows(x), {m, 1, n}));  // (m, j, i)
    const Tensor weights =
        select(less_equal(j, i), cumulative_prod_along(others, 2), zeros_of({}, x.dtype()));  // (m, j, i)
    const std::uint8_t a[] = {0, 1}, b[] = {0, 1, 2}, out[] = {0, 2};
    Tensor d = contract(rows(c.d[0]), a, weights, b, out);
    Shape moved;
    Axes back;
    for (std::int64_t o : order) moved.push_back(x.shape()[static_cast<int>(o)]);
    for (int k = 0; k < x.rank(); ++k) back.push_back(k < axis ? k : k == axis ? x.rank() - 1 : k - 1);
    return transpose(reshape(d, moved), back);
}

constexpr Primitive make() {
    Primitive p = cumulative<tape::Reduction::prod>("cumulative_prod", "Running products along an axis.");
    p.derivative = Derivative::rule;
    p.tangent = tangent;
    p.samples = cumulative_samples<cumulative_prod_along>;
    return p;
}

constexpr Primitive kPrimitive = make();
const Register registered(kPrimitive);

}  // namespace

Tensor cumulative_prod_along(const Tensor& x, int axis) {
    check_defined("cumulative_prod", x);
    return record(kPrimitive, {x}, {normalized(axis, x.shape(), "cumulative_prod")});
}

}  // namespace tenon
