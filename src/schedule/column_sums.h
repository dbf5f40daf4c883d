// Sums of columns on a device, of what other work gives: the gradients of a norm's weights and of biases.
#pragma once

#include <vector>

#include "schedule/build.h"

namespace tenon::schedule {

/// Where nothing but sums over all axes except the last reads what pointwise work or work on rows gives, it is not
/// stored but computed again for the sums from what that work reads, all of them in one pass (cuda/column_sums.h), if
/// that reads less than storing and reading it would move; sums of its operands join them. Where the device may take
/// rows and sums in one pass they are one task. `drafts` are of the groups in `order`; `is_result` is what they were
/// made with.
void join_column_sums(const Program& program, const Groups& groups, const std::vector<std::uint32_t>& order,
                      const std::vector<bool>& is_result, std::vector<Draft>& drafts);

}  // namespace tenon::schedule
