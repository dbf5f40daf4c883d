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

/// Where nothing but the first product of a layer that narrows, and the gradients, read what a function gives of each
/// value of a layer that widens, and both layers have the same groups: the product before the function and the one
/// behind it become one task, and so do their gradients, which compute the function again. Values before the function
/// that nobody else reads are not stored.
void join_hidden(const Program& program, std::vector<Draft>& drafts);
/// Whether these three, of which each reads the one before, would be such a task.
bool is_hidden(const Program& program, std::vector<Draft> product_function_product);

/// Operands and results whose addresses are not multiples of 16, as the kernels require, are copied.
void run_hidden(cuda::Gpu& gpu, const Task& task, std::span<const View> in, std::span<const View> out);

}  // namespace tenon::schedule
