// Row tapes run as strips (strips.h).
#pragma once

#include "tape/kernels.h"
#include "tape/rows_problem.h"

namespace tenon::tape {

/// Runs the problem; false where it does not suit strips, and nothing is done.
bool run_row_strips(const KernelTable& table, const rows::Problem& problem, std::span<const View> inputs,
                    std::span<const View> outputs, Kept* kept);

/// Runs as planned, where `kept` is a plan for such operands; else false.
bool run_kept_row_strips(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                         const Kept* kept);

}  // namespace tenon::tape
