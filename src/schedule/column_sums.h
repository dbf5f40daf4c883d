// Sums of columns on a device, computed from other work: the gradients of a norm's weights and of biases.
#pragma once

#include <vector>

#include "schedule/build.h"

namespace tenon::schedule {

/// If only sums over all axes except the last read a result of pointwise work or of row work, the result is not stored.
/// It is computed again for the sums, all in one pass (cuda/column_sums.h), if that reads less than storing and reading
/// the result would move; sums of its operands join them. If the device can do rows and sums in one pass, they are one
/// task. `drafts` are those of the groups in `order`; `is_result` is what they were made with.
void join_column_sums(const Program& program, const Groups& groups, const std::vector<std::uint32_t>& order,
                      const std::vector<bool>& is_result, std::vector<Draft>& drafts);

}  // namespace tenon::schedule
