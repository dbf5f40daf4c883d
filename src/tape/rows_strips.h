// Row tapes run as strips (strips.h).
#pragma once

#include "tape/kernels.h"
#include "tape/rows_problem.h"
#include "tape/strips.h"

namespace tenon::tape {

/// Runs the problem; returns false, having done nothing, if it does not suit strips.
bool run_row_strips(const KernelTable& table, const rows::Problem& problem, std::span<const View> inputs,
                    std::span<const View> outputs, CachedPlan* kept);

/// The plan of a row tape, as strips or instruction by instruction; the tape outlives it.
struct CachedRowPlan {
    CachedRowPlan(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                  const rows::Problem& p)
        : operands(table, inputs, outputs), problem(p) {}
    virtual ~CachedRowPlan() = default;
    CachedRowPlan(const CachedRowPlan&) = delete;
    CachedRowPlan& operator=(const CachedRowPlan&) = delete;
    virtual void run() const = 0;

    PlannedFor operands;
    rows::Problem problem;
};

/// Runs by the plan if `kept` has one for such operands; otherwise returns false.
bool run_cached_rows(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                     const CachedPlan* kept);

}  // namespace tenon::tape
