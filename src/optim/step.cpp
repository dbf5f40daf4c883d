#include "optim/step.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/text.h"
#include "primitive/operands.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tensor/same_names.h"

namespace tenon::optim {
namespace {

// Checks that names and, if `shapes`, shapes agree. Paths are made only for messages.
void check_like(const char* op, const char* what, const Tree& params, const Tree& other, bool shapes) {
    const std::vector<const Tensor*> p = leaves_in(params), o = leaves_in(other);
    if (p.size() != o.size()) throw ValueError(text(op, ": ", o.size(), " ", what, " for ", p.size(), " parameters"));
    const auto path = [](const Tree& tree, std::size_t leaf) { return tree.flatten()[leaf].first; };
    const bool named = same_names(params, other);
    for (std::size_t i = 0; i < p.size(); ++i) {
        if (!named && path(params, i) != path(other, i))
            throw ValueError(
                text(op, ": ", what, " of \"", path(other, i), "\" where \"", path(params, i), "\" belongs"));
        if (shapes && p[i]->shape() != o[i]->shape())
            throw ShapeError(text(op, ": ", what, " of \"", path(params, i), "\" of shape ", to_string(o[i]->shape()),
                                  ", not ", to_string(p[i]->shape())));
        if (!is_floating(p[i]->dtype()))
            throw TypeError(text(op, ": \"", path(params, i), "\" is ", name(p[i]->dtype()), ", not floating"));
    }
}

}  // namespace

std::vector<Leaf> leaves_of(const char* op, const Tree& params, const Tree& grads, const Tree& multipliers) {
    check_like(op, "gradients", params, grads, true);
    const std::vector<const Tensor*> p = leaves_in(params), g = leaves_in(grads), m = leaves_in(multipliers);
    if (!m.empty()) check_like(op, "multipliers", params, multipliers, false);
    const auto multiplier_of = [&](std::size_t i) {
        if (m.empty()) return 1.0;
        const auto what = [&] { return text(op, ": the multiplier of \"", multipliers.flatten()[i].first, "\" is "); };
        if (m[i]->size() != 1) throw ShapeError(text(what(), described(*m[i]), ", not one number"));
        const double multiplier = m[i]->item<double>();
        if (!(multiplier >= 0) || !std::isfinite(multiplier))
            throw ValueError(text(what(), multiplier, ", negative or not finite"));
        return multiplier;
    };
    std::vector<Leaf> all;
    all.reserve(p.size());
    for (std::size_t i = 0; i < p.size(); ++i) {
        const DType t = update_dtype(p[i]->dtype());
        all.push_back({astype(*p[i], t), astype(*g[i], t), multiplier_of(i)});
    }
    return all;
}

std::vector<Tensor> state_of(const char* op, const Tree& params, const Tree& state, const char* part) {
    if (!state.contains(part)) throw ValueError(text(op, ": the state has no \"", part, "\""));
    check_like(op, part, params, state[part], true);
    return state[part].leaves();
}

std::int64_t Step::checked(const char* op, std::int64_t step) {
    if (step < 0 || step == INT64_MAX) throw ValueError(text(op, ": step ", step, " is not from 0 to 2^63 - 2"));
    return step;
}

Step::Step(const char* op, const Tree& state) : op_(op) {
    if (!state.contains("step")) throw ValueError(text(op, ": the state has no \"step\""));
    const Tree& counter = state["step"];
    if (!counter.is_leaf()) throw ValueError(text(op, ": the state's \"step\" is a tree, not a number"));
    counter_ = counter.tensor();
    if (counter_.size() != 1)
        throw ShapeError(text(op, ": the state's \"step\" is ", described(counter_), ", not one number"));
    if (!is_integer(counter_.dtype()))
        throw TypeError(text(op, ": the state's \"step\" is ", name(counter_.dtype()), ", not an integer"));
    if (!tenon::is_symbolic(counter_)) value_ = checked(op, counter_.item<std::int64_t>());
}

Tensor Step::next() const {
    if (value_) return step_counter(*value_ + 1);
    return derived_number(counter_, DType::int64,
                          [op = op_](Scalar s) -> Scalar { return checked(op, s.as_integer()) + 1; });
}

Tensor step_counter(std::int64_t step) { return Tensor::from<std::int64_t>({step}, {}); }

DType update_dtype(DType t) { return t == DType::float64 ? t : DType::float32; }

Tree zeros_like(const Tree& params) {
    return params.map([](const Tensor& p) { return zeros(p.shape(), update_dtype(p.dtype())); });
}

Tree with_dtypes(const Tree& params, std::vector<Tensor> next) {
    const std::vector<const Tensor*> before = leaves_in(params);
    for (std::size_t i = 0; i < next.size(); ++i) next[i] = astype(next[i], before[i]->dtype());
    return params.with_leaves(std::move(next));
}

void check_range(const char* op, const char* name, double value, double low, double high) {
    if (!(value >= low && value < high))
        throw ValueError(text(op, ": ", name, " = ", value, " is not in [", low, ", ", high, ")"));
}

namespace {

bool is_computed(const Tensor& t) { return t.defined() && t.node()->value(); }

bool is_computed(const Tree& tree) {
    const std::vector<const Tensor*> all = leaves_in(tree);
    return std::all_of(all.begin(), all.end(), [](const Tensor* t) { return is_computed(*t); });
}

bool has_symbolic_step(const Tree& state) {
    return state.contains("step") && state["step"].is_leaf() && is_symbolic(state["step"].tensor());
}

}  // namespace

std::pair<Tree, Tree> computed(const CompiledCalls& calls, Update update, Tree params, Tree grads, Tree state,
                               std::span<const Tensor> also) {
    if (has_symbolic_step(state)) return update(params, grads, state);
    const bool all_computed = std::all_of(also.begin(), also.end(), [](const Tensor& t) { return is_computed(t); }) &&
                              is_computed(grads) && is_computed(params) && is_computed(state);
    if (!Tracing::active() && all_computed) {
        const auto f = [&](const Tree& t) {
            const auto& of = t.children();
            auto [p, s] = update(of[0].second, of[1].second, of[2].second);
            return Tree::list(std::vector<Tree>{std::move(p), std::move(s)});
        };
        std::vector<Tree> all;
        for (Tree* given_up : {&params, &grads, &state}) all.push_back(std::move(*given_up));
        std::vector<Tree::Child> next = calls.call(f, Tree::list(std::move(all))).children();
        return {std::move(next[0].second), std::move(next[1].second)};
    }
    std::pair<Tree, Tree> next = update(params, grads, state);
    for (Tree* given_up : {&params, &grads, &state}) *given_up = {};
    std::vector<Tensor> all = next.first.leaves();
    for (Tensor& t : next.second.leaves()) all.push_back(std::move(t));
    all.insert(all.end(), also.begin(), also.end());
    eval(all);
    return next;
}

}  // namespace tenon::optim
