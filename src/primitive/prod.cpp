// prod: the product over axes.
#include "primitive/reduction.h"

namespace tenon {
namespace {

// The product of all other elements, as the product of those before times that of those after: right also for zeros.
Tensor product_of_others(const Tensor& rows) {
    const std::int64_t m = rows.shape()[0], n = rows.shape()[1];
    const Tensor first = slice(rows, {0, 0}, {m, n - 1}, {1, 1}), last = slice(rows, {0, 1}, {m, n}, {1, 1});
    const Tensor before = pad(cumulative_prod_along(first, 1), {0, 1}, {0, 0}, {}, 1);
    const Tensor after = pad(flip(cumulative_prod_along(flip(last, {1}), 1), {1}), {0, 0}, {0, 1}, {}, 1);
    return before * after;
}

Tensor tangent(const TangentContext& c) {
    const Tensor& x = c.in[0];
    if (x.size() == 0) return {};
    // The reduced axes, last and merged into one.
    Axes order;
    std::int64_t reduced = 1;
    for (int i = 0; i < x.rank(); ++i) {
        bool kept = true;
        for (std::int64_t a : c.node.attributes) kept = kept && a != i;
        if (kept) order.push_back(i);
    }
    for (std::int64_t a : c.node.attributes) {
        order.push_back(a);
        reduced *= x.shape()[static_cast<int>(a)];
    }
    const auto rows = [&](const Tensor& t) { return reshape(transpose(t, order), {t.size() / reduced, reduced}); };
    return reshape(reduce_sum(rows(c.d[0]) * product_of_others(rows(x)), {1}), c.out.shape());
}

constexpr Primitive make() {
    Primitive p = reduction<tape::Reduction::prod>("prod", "The product over axes.");
    p.derivative = Derivative::rule;
    p.tangent = tangent;
    p.samples = reduction_samples<reduce_prod>;
    return p;
}

constexpr Primitive kProd = make();
const Register registered(kProd);

}  // namespace

Tensor reduce_prod(const Tensor& x, const Axes& axes) { return reduce_over(kProd, x, axes); }

}  // namespace tenon
