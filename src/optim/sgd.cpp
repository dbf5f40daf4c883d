#include <limits>

#include "optim/step.h"
#include "tenon/error.h"
#include "tenon/optim.h"
#include "tenon/primitives.h"

namespace tenon::optim {

SGD::SGD(SgdOptions options) : options_(std::move(options)) {
    check_range("SGD", "momentum", options_.momentum, 0, 1);
    check_range("SGD", "weight decay", options_.weight_decay, 0, std::numeric_limits<double>::infinity());
    if (options_.nesterov && options_.momentum == 0) throw ValueError("SGD: Nesterov's step needs momentum");
    options_.learning_rate(0);
}

Tree SGD::init(const Tree& params) const {
    Tree state({{"step", step_counter(0)}});
    if (options_.momentum != 0) state.set("momentum", zeros_like(params));
    eval(state);
    return state;
}

namespace {

std::pair<Tree, Tree> recorded(const SgdOptions& o, const Tree& params, const Tree& grads, const Tree& state) {
    const Step step("SGD", state);
    std::vector<Leaf> leaves = leaves_of("SGD", params, grads, o.multipliers);
    std::vector<Tensor> momentum = o.momentum != 0 ? state_of("SGD", params, state, "momentum") : std::vector<Tensor>();
    std::vector<Tensor> next;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        const auto& [p, grad, multiplier] = leaves[i];
        Tensor g = o.weight_decay != 0 && p.rank() >= 2 ? grad + p * o.weight_decay : grad;
        if (o.momentum != 0) {
            momentum[i] = momentum[i] * o.momentum + g;
            g = o.nesterov ? g + momentum[i] * o.momentum : momentum[i];
        }
        const Tensor rate =
            step.number(p.dtype(), [of = o.learning_rate, by = multiplier](std::int64_t s) { return of(s) * by; });
        next.push_back(p - g * rate);
    }
    Tree after({{"step", step.next()}});
    if (o.momentum != 0) after.set("momentum", params.with_leaves(std::move(momentum)));
    return {with_dtypes(params, std::move(next)), std::move(after)};
}

}  // namespace

std::pair<Tree, Tree> SGD::update(Tree params, Tree grads, Tree state, std::span<const Tensor> also) const {
    const auto update = [this](const Tree& p, const Tree& g, const Tree& s) { return recorded(options_, p, g, s); };
    return computed(calls_, update, std::move(params), std::move(grads), std::move(state), also);
}

}  // namespace tenon::optim
