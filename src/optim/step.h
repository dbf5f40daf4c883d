// What optimizers share: the leaves of a step side by side, and its end.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "tenon/tree.h"

namespace tenon::optim {

/// One parameter of a step, and its gradient in the dtype it is updated in.
struct Leaf {
    Tensor param, grad;
    double multiplier;
};

/// The parameters with their gradients. Throws ValueError or ShapeError naming `op` unless the trees agree.
std::vector<Leaf> leaves_of(const char* op, const Tree& params, const Tree& grads, const Tree& multipliers);
/// The leaves of a state's part. Throws likewise.
std::vector<Tensor> state_of(const char* op, const Tree& params, const Tree& state, const char* part);
/// The step counter. Throws ValueError if the state has none, or a negative one.
std::int64_t step_of(const char* op, const Tree& state);
Tensor step_counter(std::int64_t step);

/// The dtype of a parameter's moments and of its update.
DType update_dtype(DType t);
/// Zeros like the parameters, in their update dtype.
Tree zeros_like(const Tree& params);
/// The updated leaves as a tree of the parameters' own dtypes.
Tree with_dtypes(const Tree& params, std::vector<Tensor> next);
/// Throws ValueError unless `value` is in [low, high).
void check_range(const char* op, const char* name, double value, double low, double high);

/// Computes all of it in one go.
std::pair<Tree, Tree> finish(Tree params, Tree state, std::span<const Tensor> also);

}  // namespace tenon::optim
