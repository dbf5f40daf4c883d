// Pointwise work before a product, as its prologue.
#pragma once

#include <span>

#include "product/contract.h"
#include "schedule/build.h"

namespace tenon::schedule {

/// Lets a product run the pointwise work that gives one of its operands while it packs the operand
/// (product/prologue.h), if nothing else reads the result of that work and the product takes the tape. Otherwise
/// `Group::before` says why.
void join_prologues(const Program& program, const Options& options, Groups& groups);

/// The row by which a product task with prologues runs.
product::WayName way_with_prologues(const Task& t, std::span<const View> in, const View& out);

/// A product task with prologues.
void run_with_prologues(const Task& t, std::span<const View> in, const View& out);

}  // namespace tenon::schedule
