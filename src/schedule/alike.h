// Tasks that are alike.
#pragma once

#include "schedule/executable.h"

namespace tenon::schedule {

inline bool same(const Location& a, const Location& b) { return a.in == b.in && a.index == b.index; }

/// Whether two tasks differ in extents, strides and offsets alone.
bool same(const Task& a, const Task& b);

/// Of each task, of two layers say, the first that computes the same from operands of the same layouts, which lie in
/// each other's memory alike. Tapes and rows alone: the others keep nothing.
std::vector<std::uint32_t> first_alike(const std::vector<Task>& tasks);

}  // namespace tenon::schedule
