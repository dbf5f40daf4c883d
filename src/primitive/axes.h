// Checking of axis arguments.
#pragma once

#include "tenon/layout.h"

namespace tenon {

/// An axis in [0, rank); negative ones count from the end. Throws ShapeError naming `op`.
int normalized(std::int64_t axis, int rank, const char* op);
/// Axes ascending and distinct. Throws ShapeError.
Axes normalized(const Axes& axes, int rank, const char* op);

}  // namespace tenon
