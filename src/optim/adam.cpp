#include <cmath>
#include <limits>

#include "optim/step.h"
#include "primitive/leaf.h"
#include "tenon/optim.h"
#include "tenon/primitives.h"

namespace tenon::optim {
namespace {

/// A step's numbers as tensors, shared by all parameters that have the same: to record a number and pass it to the step
/// takes as long as an operation.
struct Numbers {
    Numbers(const AdamWOptions& o, const Step& step, DType t, double rate_multiplier)
        : dtype(t), multiplier(rate_multiplier) {
        const auto number = [t](double value) { return scalar(value, t); };
        beta1 = number(o.beta1), other1 = number(1 - o.beta1);
        beta2 = number(o.beta2), other2 = number(1 - o.beta2), eps = number(o.eps);
        second = step.number(t, [b = o.beta2](std::int64_t s) { return 1 / std::sqrt(1 - power(b, s)); });
        rate = step.number(t, [b = o.beta1, of = o.learning_rate, multiplier = multiplier](std::int64_t s) {
            return of(s) * multiplier * (1 / (1 - power(b, s)));
        });
        kept = step.number(t, [decay = o.weight_decay, of = o.learning_rate, multiplier = multiplier](std::int64_t s) {
            return 1 - of(s) * multiplier * decay;
        });
    }

    DType dtype;
    double multiplier;  // of the learning rate
    Tensor beta1, other1, beta2, other2, second, eps, rate, kept;

  private:
    /// beta^t, the part of a moment's first value that is left after this step.
    static double power(double beta, std::int64_t step) { return std::pow(beta, static_cast<double>(step + 1)); }
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

namespace {

std::pair<Tree, Tree> recorded(const AdamWOptions& o, const Tree& params, const Tree& grads, const Tree& state) {
    const Step step("AdamW", state);
    std::vector<Leaf> leaves = leaves_of("AdamW", params, grads, o.multipliers);
    std::vector<Tensor> m = state_of("AdamW", params, state, "m"), v = state_of("AdamW", params, state, "v"), next;
    std::vector<Numbers> all_numbers;
    const auto numbers_of = [&](DType dtype, double multiplier) -> const Numbers& {
        for (const Numbers& n : all_numbers)
            if (n.dtype == dtype && n.multiplier == multiplier) return n;
        return all_numbers.emplace_back(o, step, dtype, multiplier);
    };
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        const auto& [p, g, multiplier] = leaves[i];
        const Numbers& n = numbers_of(p.dtype(), multiplier);
        m[i] = m[i] * n.beta1 + g * n.other1;
        v[i] = v[i] * n.beta2 + g * g * n.other2;
        const bool decays = o.weight_decay != 0 && (o.decay_vectors || p.rank() >= 2);
        const Tensor kept = decays ? p * n.kept : p;
        next.push_back(kept - m[i] * n.rate / (sqrt(v[i]) * n.second + n.eps));
    }
    Tree after({{"step", step.next()}});
    after.set("m", params.with_leaves(std::move(m)));
    after.set("v", params.with_leaves(std::move(v)));
    return {with_dtypes(params, std::move(next)), std::move(after)};
}

}  // namespace

std::pair<Tree, Tree> AdamW::update(Tree params, Tree grads, Tree state, std::span<const Tensor> also) const {
    const auto update = [this](const Tree& p, const Tree& g, const Tree& s) { return recorded(options_, p, g, s); };
    return computed(calls_, update, std::move(params), std::move(grads), std::move(state), also);
}

}  // namespace tenon::optim
