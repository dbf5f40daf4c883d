// What optimizers share: parameters beside their gradients and state, the step counter, and how an update is computed.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "primitive/leaf.h"
#include "tenon/compile.h"
#include "tenon/tree.h"

namespace tenon::optim {

/// One parameter of a step, and its gradient in the dtype it is updated in.
struct Leaf {
    Tensor param, grad;
    double multiplier;
};

/// The parameters with their gradients. Throws ValueError or ShapeError naming `op` unless the trees agree.
std::vector<Leaf> leaves_of(const char* op, const Tree& params, const Tree& grads, const Tree& multipliers);
/// The leaves of one part of a state, such as "m". Throws likewise.
std::vector<Tensor> state_of(const char* op, const Tree& params, const Tree& state, const char* part);
Tensor step_counter(std::int64_t step);

/// The step counter of a state: a value, or an argument while a function is being compiled.
class Step {
  public:
    /// Throws ValueError if the state has none, or a negative one.
    Step(const char* op, const Tree& state);

    /// f of the step, as a run-time scalar.
    template <class F>
    Tensor number(DType dtype, F f) const {
        if (value_) return scalar(f(*value_), dtype);
        return derived_number(counter_, dtype, [op = op_, f = std::move(f)](Scalar s) -> Scalar {
            return f(checked(op, s.as_integer()));
        });
    }
    /// The counter of the step after this one.
    Tensor next() const;
    bool is_symbolic() const { return !value_; }

  private:
    static std::int64_t checked(const char* op, std::int64_t step);

    const char* op_;
    Tensor counter_;
    std::optional<std::int64_t> value_;
};

/// The dtype of a parameter's moments and of its update.
DType update_dtype(DType t);
/// Zeros like the parameters, in their update dtype.
Tree zeros_like(const Tree& params);
/// The updated leaves as a tree of the parameters' own dtypes.
Tree with_dtypes(const Tree& params, std::vector<Tensor> next);
/// Throws ValueError unless `value` is in [low, high).
void check_range(const char* op, const char* name, double value, double low, double high);

/// What an optimizer records: from parameters, gradients and state the next parameters and state.
using Update = FunctionRef<std::pair<Tree, Tree>(const Tree& params, const Tree& grads, const Tree& state)>;
/// The update's results, computed together with `also`. If all arguments have values, the update runs as a compiled
/// function; otherwise it is evaluated with what is pending. While a function is being compiled it is only recorded.
std::pair<Tree, Tree> computed(const CompiledCalls& calls, Update update, Tree params, Tree grads, Tree state,
                               std::span<const Tensor> also);

}  // namespace tenon::optim
