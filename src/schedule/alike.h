// Tasks that differ only in their data.
#pragma once

#include "schedule/executable.h"

namespace tenon::schedule {

inline bool same(const Location& a, const Location& b) { return a.in == b.in && a.index == b.index; }

/// Whether two tasks differ only in extents, strides and offsets.
bool same(const Task& a, const Task& b);

/// For each task, the first one that computes the same (in another layer, say) from operands with the same layouts that
/// share memory in the same way. Only for tapes and row tapes; other tasks keep no plan.
std::vector<std::uint32_t> first_alike(const std::vector<Task>& tasks);

}  // namespace tenon::schedule
