// scan: a loop that carries a state.
#include "base/text.h"
#include "primitive/operands.h"
#include "tenon/error.h"
#include "tenon/primitives.h"
#include "tenon/transform.h"

namespace tenon {
namespace {

Shape without_first(const Shape& s) {
    Shape rest = s;
    rest.erase(0);
    return rest;
}

Tensor with_leading_axis(const Tensor& t) {
    Shape s = t.shape();
    s.insert(0, 1);
    return reshape(t, s);
}

// Every step's y must have the names, shapes and dtypes of the first one, so that they can be stacked.
void check_same(const Tree& first, const Tree& y, std::int64_t step) {
    const auto a = first.flatten(), b = y.flatten();
    const std::string where = text("scan: y of step ", step);
    if (a.size() != b.size())
        throw ShapeError(text(where, " has ", b.size(), " leaves, that of step 0 has ", a.size()));
    for (std::size_t i = 0; i < a.size(); ++i) {
        const auto& [name_a, x] = a[i];
        const auto& [name_b, z] = b[i];
        if (name_a != name_b || x.shape() != z.shape() || x.dtype() != z.dtype())
            throw ShapeError(text(where, " has \"", name_b, "\" ", described(z), " where that of step 0 has \"", name_a,
                                  "\" ", described(x)));
    }
}

}  // namespace

std::pair<Tree, Tree> scan(const std::function<std::pair<Tree, Tree>(const Tree& carry, const Tree& x)>& f,
                           const Tree& init, const Tree& xs, std::int64_t length) {
    detail::check_callable("scan", f);
    std::int64_t n = length;
    for (const auto& [path, x] : xs.flatten()) {
        if (x.rank() == 0) throw ShapeError(text("scan: xs \"", path, "\" has no leading axis"));
        if (n >= 0 && x.shape()[0] != n)
            throw ShapeError(text("scan: xs \"", path, "\" is ", to_string(x.shape()), ", not ", n, " long"));
        n = x.shape()[0];
    }
    if (n < 0) throw ValueError("scan: without xs a length is needed");
    Tree carry = init;
    std::vector<std::vector<Tensor>> results;  // of each step
    Tree structure;
    for (std::int64_t i = 0; i < n; ++i) {
        const Tree x = xs.map([i](const Tensor& t) { return reshape(t[i], without_first(t.shape())); });
        auto [next, y] = f(carry, x);
        (void)tree_map(  // for its checks
            [](const Tensor& a, const Tensor& b) {
                if (a.shape() != b.shape() || a.dtype() != b.dtype())
                    throw ShapeError(text("scan: the carry changes from ", described(a), " to ", described(b)));
                return a;
            },
            carry, next);
        carry = std::move(next);
        if (i == 0) structure = y;
        check_same(structure, y, i);
        results.push_back(y.leaves());
    }
    std::vector<Tensor> stacked;
    for (std::size_t k = 0; k < (results.empty() ? 0 : results[0].size()); ++k) {
        std::vector<Tensor> rows;
        for (const auto& step : results) rows.push_back(with_leading_axis(step[k]));
        stacked.push_back(concat(rows, 0));
    }
    return {carry, structure.with_leaves(stacked)};
}

}  // namespace tenon
