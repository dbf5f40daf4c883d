// The order in which groups run, and the memory that it takes.
#pragma once

#include <cstdint>
#include <vector>

#include "schedule/fuse.h"

namespace tenon::schedule {

struct Order {
    std::vector<std::uint32_t> groups;  // operands first
    std::int64_t peak;  // the most bytes of intermediates alive at a step
    std::int64_t step;  // where that is
    bool by_memory;  // else what was recorded first comes first
};

/// Of what may run, what was recorded first; or what frees most and takes least, where that has a much lower peak. (In
/// the order of recording a checkpoint's second computation stays beside its reader, and readers come soon after what
/// they read.)
Order order_of(const Program& program, const Groups& groups);

/// The peak of the order of bases that run each for itself.
std::int64_t peak_without_fusion(const Program& program);

/// The groups, and what of them is alive at the order's peak, largest first: the group that computes it.
std::vector<std::uint32_t> alive_at_peak(const Program& program, const Groups& groups, const Order& order);

}  // namespace tenon::schedule
