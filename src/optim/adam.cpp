#include <cmath>
#include <limits>

#include "optim/step.h"
#include "primitive/leaf.h"
#include "tenon/optim.h"
#include "tenon/primitives.h"

namespace tenon::optim {
namespace {

/// A step's numbers as tensors, once for all parameters that have them: to record a number, and to hand it to the step,
/// takes as long as an operation does.
struct Numbers {
    DType dtype;
    double own;  // learning rate
    Tensor beta1, other1, beta2, other2, second, eps, rate, kept;
};

}  // namespace

AdamW::AdamW(AdamWOptions options) : options_(std::move(options)) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    check_range("AdamW", "beta1", options_.beta1, 0, 1);
    check_range("AdamW", "beta2", options_.beta2, 0, 1);
    check_range("AdamW", "eps", options_.eps, 0, kInfinity);
    check_range("AdamW", "weight decay", options_.weight_decay, 0, kInfinity);
    options_.learning_rate(0);
}

Adam::Adam(AdamOptions o)
    : AdamW({.learning_rate = std::move(o.learning_rate),
             .beta1 = o.beta1,
             .beta2 = o.beta2,
             .eps = o.eps,
             .weight_decay = 0,
             .multipliers = std::move(o.multipliers)}) {}

Tree AdamW::init(const Tree& params) const {
    const Tree state({{"step", step_counter(0)}, {"m", zeros_like(params)}, {"v", zeros_like(params)}});
    eval(state);
    return state;
}

std::pair<Tree, Tree> AdamW::update(Tree params, Tree grads, Tree state, std::span<const Tensor> also) const {
    const AdamWOptions& o = options_;
    const std::int64_t step = step_of("AdamW", state);
    const double rate = o.learning_rate(step), t = static_cast<double>(step + 1);
    const double first = 1 / (1 - std::pow(o.beta1, t)), second = 1 / std::sqrt(1 - std::pow(o.beta2, t));
    std::vector<Leaf> leaves = leaves_of("AdamW", params, grads, o.multipliers);
    std::vector<Tensor> m = state_of("AdamW", params, state, "m"), v = state_of("AdamW", params, state, "v"), next;
    std::vector<Numbers> all_numbers;
    const auto numbers_of = [&](DType dtype, double own) -> const Numbers& {
        for (const Numbers& n : all_numbers)
            if (n.dtype == dtype && n.own == own) return n;
        const auto number = [dtype](double value) { return scalar(value, dtype); };
        return all_numbers.emplace_back(Numbers{dtype, own, number(o.beta1), number(1 - o.beta1), number(o.beta2),
                                                number(1 - o.beta2), number(second), number(o.eps), number(own * first),
                                                number(1 - own * o.weight_decay)});
    };
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        const auto& [p, g, multiplier] = leaves[i];
        const Numbers& n = numbers_of(p.dtype(), rate * multiplier);
        m[i] = m[i] * n.beta1 + g * n.other1;
        v[i] = v[i] * n.beta2 + g * g * n.other2;
        const bool decays = o.weight_decay != 0 && (o.decay_vectors || p.rank() >= 2);
        const Tensor kept = decays ? p * n.kept : p;
        next.push_back(kept - m[i] * n.rate / (sqrt(v[i]) * n.second + n.eps));
    }
    Tree after({{"step", step_counter(step + 1)}, {"m", params.with_leaves(m)}, {"v", params.with_leaves(v)}});
    Tree now = with_dtypes(params, std::move(next));
    // What the caller gave up has no handle any more when the step is computed.
    leaves.clear(), m.clear(), v.clear(), all_numbers.clear();
    params = {}, grads = {}, state = {};
    return finish(std::move(now), std::move(after), also);
}

}  // namespace tenon::optim
