#include "tenon/transform.h"

#include <memory>
#include <unordered_map>

#include "base/text.h"
#include "primitive/custom.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "primitive/primitive.h"
#include "tenon/error.h"
#include "tenon/primitives.h"
#include "tensor/same_names.h"
#include "transform/linear_graph.h"

namespace tenon {
namespace {

// A function recorded at a point. Its arguments are new nodes, so that only their use as arguments varies.
struct Trace {
    Tree at, value;
    std::vector<Tensor> inputs;
};

// The leaves of a tree of tangents or cotangents. Their names and shapes must be those of `expected`, and so must the
// dtypes of floating leaves; the others are ignored.
std::vector<Tensor> matching_leaves(const char* what, const Tree& expected, const Tree& given) {
    if (same_names(expected, given)) {
        std::vector<Tensor> all = given.leaves();
        const std::vector<const Tensor*> like = leaves_in(expected);
        const auto fits = [](const Tensor& d, const Tensor* x) {
            return d.shape() == x->shape() && (!is_floating(x->dtype()) || d.dtype() == x->dtype());
        };
        if (std::equal(all.begin(), all.end(), like.begin(), fits)) return all;
    }
    const auto leaves = expected.flatten(), found = given.flatten();
    if (leaves.size() != found.size()) throw ValueError(text(what, ": ", found.size(), " leaves, not ", leaves.size()));
    std::vector<Tensor> all;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto& [path, x] = leaves[i];
        const auto& [given_path, d] = found[i];
        if (given_path != path)
            throw ValueError(text(what, ": leaf \"", given_path, "\" where \"", path, "\" belongs"));
        const auto rule = [what, &name = path, &leaf = x, &tangent = d] {
            return text(what, ": leaf \"", name, "\" is ", described(tangent), ", not ", described(leaf));
        };
        if (d.shape() != x.shape()) throw ShapeError(rule());
        if (is_floating(x.dtype()) && d.dtype() != x.dtype()) throw TypeError(rule());
        all.push_back(d);
    }
    return all;
}

Tree filled(const Tree& like, std::vector<Tensor> leaves) {
    const std::vector<const Tensor*> shapes = leaves_in(like);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        if (!leaves[i].defined()) leaves[i] = zeros_of(shapes[i]->shape(), shapes[i]->dtype());
    }
    return like.with_leaves(std::move(leaves));
}

// Records f on fresh arguments; the caller's Tracing keeps the graphs of what f evaluates on the way.
Trace trace(const TreeFunction& f, const Tree& at) {
    Trace t;
    t.at = at;
    const std::vector<const Tensor*> leaves = leaves_in(at);
    t.inputs.reserve(leaves.size());
    for (const Tensor* x : leaves) t.inputs.push_back(identity(*x));
    t.value = f(at.with_leaves(t.inputs));
    return t;
}

// Applies a tangent map: the linear graph is recorded again, with the tangents in place of the variables.
std::vector<Tensor> substitute(std::span<const Tensor> outputs, std::span<const Tensor> variables,
                               std::span<const Tensor> values) {
    std::unordered_map<const Node*, Tensor> now;
    for (std::size_t i = 0; i < variables.size(); ++i) now[variables[i].node()] = values[i];
    for (Node* n : transform::between(variables, outputs)) {
        std::vector<Tensor> in;
        for (Node* i : n->inputs) {
            const auto at = now.find(i);
            in.push_back(at == now.end() ? tensor_of(i) : at->second);
        }
        now[n] = record_again(*n, in);
    }
    std::vector<Tensor> result;
    for (const Tensor& out : outputs) result.push_back(out.defined() ? now[out.node()] : Tensor());
    return result;
}

/// The value of a function whose derivative is asked for.
const Tensor& differentiable(const char* op, const Tree& value) {
    if (!value.is_leaf()) throw ValueError(text(op, ": the function's value is not defined"));
    const Tensor& y = value.tensor();
    if (!is_floating(y.dtype()))
        throw TypeError(
            text(op, ": the function's value is ", name(y.dtype()), ", and only floating ones have derivatives"));
    return y;
}

}  // namespace

void detail::refuse_empty(const char* op) { throw ValueError(text(op, ": the function is empty")); }

Linearized linearize(const TreeFunction& f, const Tree& at) {
    detail::check_callable("linearize", f);
    const Tracing tracing;
    auto t = std::make_shared<Trace>(trace(f, at));
    std::vector<Tensor> variables;
    for (const Tensor& x : t->inputs) variables.push_back(placeholder(x.shape(), x.dtype()));
    const std::vector<Tensor> tangents = transform::linearize(t->value.leaves(), t->inputs, variables);
    t->inputs.clear();
    return {t->value,
            [t, variables, tangents](const Tree& dx) {
                const std::vector<Tensor> d = matching_leaves("jvp", t->at, dx);
                return filled(t->value, substitute(tangents, variables, d));
            },
            [t, variables, tangents](const Tree& ct) {
                const std::vector<Tensor> c = matching_leaves("vjp", t->value, ct);
                return filled(t->at, transform::adjoint(tangents, variables, c));
            }};
}

std::pair<Tree, Tree> jvp(const TreeFunction& f, const Tree& x, const Tree& dx) {
    detail::check_callable("jvp", f);
    const std::vector<Tensor> d = matching_leaves("jvp", x, dx);
    const Tracing tracing;
    const Trace t = trace(f, x);
    return {t.value, filled(t.value, transform::linearize(t.value.leaves(), t.inputs, d))};
}

std::pair<Tree, TreeFunction> vjp(const TreeFunction& f, const Tree& x) {
    detail::check_callable("vjp", f);
    Linearized l = linearize(f, x);
    return {std::move(l.value), std::move(l.pullback)};
}

std::pair<Tensor, Tree> value_and_grad_at(const std::function<Tensor(const Tree&)>& f, const Tree& x) {
    detail::check_callable("value_and_grad_at", f);
    auto [value, pullback] = vjp([&](const Tree& t) { return Tree(f(t)); }, x);
    const Tensor& loss = differentiable("grad", value);
    if (loss.rank() != 0)
        throw ShapeError(text("grad: the function's value has shape ", to_string(loss.shape()), ", not ()"));
    return {loss, pullback(Tree(constant(1, loss.dtype())))};
}

Tensor jacobian(const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
    detail::check_callable("jacobian", f);
    check_defined("jacobian", x);
    const Linearized l = linearize([&](const Tree& t) { return Tree(f(t.tensor())); }, Tree(x));
    const Tensor& y = differentiable("jacobian", l.value);
    const std::int64_t n = y.size();
    std::vector<Tensor> rows;
    const Tensor positions = iota(n, DType::int64);
    for (std::int64_t i = 0; i < n; ++i) {
        const Tensor unit = reshape(astype(equal(positions, i), y.dtype()), y.shape());
        rows.push_back(reshape(l.pullback(Tree(unit)).tensor(), {1, x.size()}));
    }
    Shape s = y.shape();
    for (std::int64_t e : x.shape()) s.push_back(e);
    return rows.empty() ? zeros_of(s, x.dtype()) : reshape(concat(rows, 0), s);
}

Tree hessian_vector_product(const std::function<Tensor(const Tree&)>& f, const Tree& x, const Tree& v) {
    detail::check_callable("hessian_vector_product", f);
    return jvp([&](const Tree& t) { return value_and_grad_at(f, t).second; }, x, v).second;
}

TreeFunction checkpoint(TreeFunction f) {
    detail::check_callable("checkpoint", f);
    return [f = std::move(f)](const Tree& x) {
        const Region region;
        return f(x);
    };
}

std::function<Tensor(std::span<const Tensor>)> custom_jvp(std::function<Tensor(std::span<const Tensor>)> f,
                                                          TangentFunction rule) {
    detail::check_callable("custom_jvp", f), detail::check_callable("custom_jvp", rule);
    // The tangents are replaced by new nodes, so that only their use as tangents counts.
    const auto checked = [rule = std::move(rule)](std::span<const Tensor> args, const Tensor& out,
                                                  std::span<const Tensor> d) {
        std::vector<Tensor> marked;
        for (const Tensor& t : d) marked.push_back(identity(t));
        Tensor t = rule(args, out, marked);
        if (t.defined() && !transform::is_linear(marked, t))
            throw ValueError("custom_jvp: the rule is not linear in d");
        return t;
    };
    return [f = std::move(f), checked](std::span<const Tensor> args) {
        return with_custom_tangent(f(args), args, checked);
    };
}

std::function<Tensor(std::span<const Tensor>)> custom_vjp(std::function<Tensor(std::span<const Tensor>)> f,
                                                          PullbackFunction rule) {
    detail::check_callable("custom_vjp", f), detail::check_callable("custom_vjp", rule);
    return [f = std::move(f), rule = std::move(rule)](std::span<const Tensor> args) {
        return with_custom_pullback(f(args), args, rule);
    };
}

}  // namespace tenon
