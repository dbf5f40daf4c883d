// Optimizers: values with explicit state. `init` makes the state of some parameters, a tree that can be saved and
// loaded like any; `update` takes parameters, gradients and state and returns the next parameters and state, computed:
// a training loop that reads nothing else is flushed there. Learning rate and step enter as run-time scalars, so the
// graph of a step is the same from the second step on.
//
// ```cpp
// const auto loss_fn = [](const Tree& p, const Tensor& x) { return sum(square(p["w"].tensor() - x)); };
// const optim::AdamW optimizer({.learning_rate = optim::cosine(0.1, 50), .weight_decay = 0});
// Tree params({{"w", zeros({3})}}), state = optimizer.init(params);
// const Tensor x = ones({3});
// for (int step = 0; step < 50; ++step) {
//     auto [loss, grads] = value_and_grad(loss_fn)(params, x);
//     std::tie(params, state) = optimizer.update(std::move(params), std::move(grads), std::move(state), {loss});
// }
// assert(loss_fn(params, x).item<float>() < 0.1f);
// ```
//
// In a function that is compiled (tenon/compile.h) an update is recorded like anything else: a step is one call then,
// and nothing is recorded or looked up. The state's "step" is an argument, from which the call makes the numbers; the
// learning rate's function is called at each. An update of parameters and gradients that are computed already (a
// compiled function gave them) is compiled by itself.
//
// ```cpp
// const optim::Adam optimizer({.learning_rate = 0.1});
// const auto step = compile([&](const Tree& params, const Tree& state, const Tensor& x) {
//     const auto loss_of = [](const Tree& p, const Tensor& v) { return sum(square(p["w"].tensor() - v)); };
//     auto [loss, grads] = value_and_grad(loss_of)(params, x);
//     auto [next, after] = optimizer.update(params, grads, state);
//     return std::tuple(loss, next, after);
// });
// Tree params({{"w", zeros({3})}}), state = optimizer.init(params);
// const Tensor x = ones({3});
// Tensor loss;
// for (int i = 0; i < 50; ++i) std::tie(loss, params, state) = step(std::move(params), std::move(state), x);
// assert(loss.item<float>() < 0.1f);
// ```
//
// Parameters and state that are given up (std::move) lend their memory to the next ones: a step needs no second set.
// Where it fails they may be gone.
//
// Moments of float16 and bfloat16 parameters are kept in float32, in which the update is computed. Options outside
// their range are a ValueError when the optimizer is made; trees or shapes that do not agree, in `update`.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <utility>

#include "tenon/compile.h"
#include "tenon/tree.h"

namespace tenon::optim {

/// A learning rate as a function of the step, 0 in the first update. A number is a constant one.
class TENON_API Schedule {
  public:
    /// Throws ValueError unless finite and not negative.
    Schedule(double constant);  // NOLINT: converts by design
    /// Throws ValueError for an empty function.
    Schedule(std::function<double(std::int64_t step)> rate);  // NOLINT

    /// Throws ValueError for a rate that is negative or not finite.
    double operator()(std::int64_t step) const;

  private:
    std::function<double(std::int64_t)> rate_;
};

/// The functions below throw ValueError for a rate that is negative or not finite.
TENON_API Schedule constant(double rate);
/// From `peak` along half a cosine to `floor` in `steps` steps, and `floor` from there on (Loshchilov and Hutter, 2017,
/// without restarts). Throws ValueError unless steps > 0.
TENON_API Schedule cosine(double peak, std::int64_t steps, double floor = 0);
/// A line up to `peak` for `warmup` steps ((step + 1) / warmup of it), then the cosine for the rest of `steps`. Throws
/// ValueError unless 0 <= warmup < steps.
TENON_API Schedule warmup_cosine(double peak, std::int64_t warmup, std::int64_t steps, double floor = 0);

struct SgdOptions {
    Schedule learning_rate = 1e-2;
    double momentum = 0;  // in [0, 1)
    bool nesterov = false;  // needs momentum
    double weight_decay = 0;  // added to the gradient, of tensors of two axes and more
    /// Factors of the learning rate, finite and not negative, a scalar for each parameter (tenon::learning_rates with
    /// RateRule::sgd); none: 1.
    Tree multipliers = {};
};

/// b <- momentum b + g;  p <- p - rate b, or p - rate (g + momentum b) for Nesterov's (Sutskever et al., 2013).
/// State: "step", and "momentum" where there is one.
class TENON_API SGD {
  public:
    explicit SGD(SgdOptions options = {});
    Tree init(const Tree& params) const;
    /// (parameters, state). `also` is computed together with them, such as a loss to be read.
    [[nodiscard]] std::pair<Tree, Tree> update(Tree params, Tree grads, Tree state,
                                               std::span<const Tensor> also = {}) const;
    [[nodiscard]] std::pair<Tree, Tree> update(Tree params, Tree grads, Tree state,
                                               std::initializer_list<Tensor> also) const {
        return update(std::move(params), std::move(grads), std::move(state),
                      std::span<const Tensor>(also.begin(), also.size()));
    }
    const SgdOptions& options() const { return options_; }

  private:
    SgdOptions options_;
    CompiledCalls calls_;
};

struct AdamOptions {
    Schedule learning_rate = 1e-3;
    double beta1 = 0.9, beta2 = 0.999;  // in [0, 1)
    double eps = 1e-8;
    Tree multipliers = {};
};

struct AdamWOptions {
    Schedule learning_rate = 1e-3;
    double beta1 = 0.9, beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0.01;
    /// Also decay tensors of fewer than two axes: biases, norms, diagonals.
    bool decay_vectors = false;
    Tree multipliers = {};
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019): with t = step + 1 and a parameter's own rate r,
///   m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
///   p <- (1 - r weight_decay) p - r (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).
/// State: "step", "m", "v".
class TENON_API AdamW {
  public:
    explicit AdamW(AdamWOptions options = {});
    Tree init(const Tree& params) const;
    /// (parameters, state). `also` is computed together with them, such as a loss to be read.
    [[nodiscard]] std::pair<Tree, Tree> update(Tree params, Tree grads, Tree state,
                                               std::span<const Tensor> also = {}) const;
    [[nodiscard]] std::pair<Tree, Tree> update(Tree params, Tree grads, Tree state,
                                               std::initializer_list<Tensor> also) const {
        return update(std::move(params), std::move(grads), std::move(state),
                      std::span<const Tensor>(also.begin(), also.size()));
    }
    const AdamWOptions& options() const { return options_; }

  private:
    AdamWOptions options_;
    CompiledCalls calls_;
};

/// Adam (Kingma and Ba, 2015): AdamW without decay.
class TENON_API Adam : public AdamW {
  public:
    explicit Adam(AdamOptions options = {});
};

/// The 2-norm of all leaves together, in float32, or float64 where a leaf has it. It does not overflow before its value
/// does.
TENON_API Tensor global_norm(const Tree& tree);
/// The gradients, scaled to a global norm of max_norm where theirs is larger (Pascanu et al., 2013). A NaN among them
/// passes on to all, an infinity becomes NaN. Throws ValueError unless max_norm > 0.
TENON_API Tree clip_by_global_norm(const Tree& grads, double max_norm);

}  // namespace tenon::optim
