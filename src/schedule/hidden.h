// Hidden values between a layer that widens and one that narrows, on a device (cuda/chain/hidden.h).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "schedule/build.h"
#include "schedule/executable.h"

namespace tenon::cuda {
class Gpu;
}

namespace tenon::schedule {

/// If the result of a pointwise function between a layer that widens and one that narrows is read only by the narrowing
/// layer's first product and by gradients, and both layers have the same groups, then the products before and after the
/// function become one task, and so do their gradients, which compute the function again. Values before the function
/// that nobody else reads are not stored.
void join_hidden(const Program& program, std::vector<Draft>& drafts);
/// Whether these three, each of which reads the one before, would form such a task.
bool is_hidden(const Program& program, std::vector<Draft> product_function_product);

/// Copies operands and results whose addresses are not multiples of 16, which the kernels require.
void run_hidden(cuda::Gpu& gpu, const Task& task, std::span<const View> in, std::span<const View> out);

}  // namespace tenon::schedule
