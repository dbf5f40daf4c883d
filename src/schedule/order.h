// The order in which groups run, and the memory that it takes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "schedule/fuse.h"

namespace tenon::schedule {

struct Order {
    std::vector<std::uint32_t> groups;  // operands first
    std::int64_t peak;  // the most bytes of intermediates alive at a step
    std::int64_t step;  // that step
    bool by_memory;  // otherwise in the order of recording
};

/// Among the groups that can run, the one recorded first; or the one that frees most and takes least, if that order has
/// a much lower peak. (In the order of recording, a checkpoint's second computation stays beside its reader, and
/// readers come soon after what they read.) Empty where groups wait for each other.
std::optional<Order> order_of(const Program& program, const Groups& groups);

/// The peak if each base runs by itself in order.
std::int64_t peak_without_fusion(const Program& program);

/// The results that are alive at the order's peak, largest first, as the groups that compute them.
std::vector<std::uint32_t> alive_at_peak(const Program& program, const Groups& groups, const Order& order);

}  // namespace tenon::schedule
