// Row tapes run as strips (strips.h).
#pragma once

#include "tape/kernels.h"
#include "tape/rows_problem.h"

namespace tenon::tape {

/// Runs the problem; false where it does not suit strips, and nothing is done.
bool run_row_strips(const KernelTable& table, const rows::Problem& problem);

}  // namespace tenon::tape
