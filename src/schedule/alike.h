// Tasks that are alike.
#pragma once

#include "schedule/executable.h"

namespace tenon::schedule {

inline bool same(const Location& a, const Location& b) { return a.in == b.in && a.index == b.index; }

/// Whether two tasks differ in extents, strides and offsets alone.
bool same(const Task& a, const Task& b);

/// For each task the first one that is alike, say in another layer: it computes the same from operands of the same
/// layouts that share memory in the same way. Only for tapes and rows; other tasks keep no plan.
std::vector<std::uint32_t> first_alike(const std::vector<Task>& tasks);

}  // namespace tenon::schedule
