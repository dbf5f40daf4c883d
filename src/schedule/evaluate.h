// The evaluator: computes what a read tensor needs, one node after the other, each through its primitive's kernel.
#pragma once

#include "schedule/plan.h"

namespace tenon::schedule {

/// What the plan cache holds and how often it was right.
struct Statistics {
    std::int64_t hits, misses;
    std::size_t plans, bytes;
};
Statistics statistics();

/// Computes one node whose operands have values (for tests and the reference sweep); `reference` asks for the law.
Array compute(const Node& node, bool reference = false);

}  // namespace tenon::schedule
