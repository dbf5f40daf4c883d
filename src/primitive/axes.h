// Checking of axis arguments.
#pragma once

#include "primitive/operands.h"

namespace tenon {

/// An axis of a shape, in [0, rank); negative ones count from the end. Throws ShapeError naming `op` and the shape.
int normalized(std::int64_t axis, const Shape& shape, const char* op);
/// Axes ascending and distinct. Throws ShapeError.
Axes normalized(const Axes& axes, const Shape& shape, const char* op);
/// The place of a new axis, in [0, rank]. Throws ShapeError, also where the result would have too many axes.
int normalized_new(std::int64_t axis, const Shape& shape, const char* op);

}  // namespace tenon
