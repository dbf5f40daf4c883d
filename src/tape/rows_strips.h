// Row tapes run as strips (strips.h).
#pragma once

#include "tape/kernels.h"
#include "tape/rows_problem.h"
#include "tape/strips.h"

namespace tenon::tape {

/// Runs the problem; false where it does not suit strips, and nothing is done.
bool run_row_strips(const KernelTable& table, const rows::Problem& problem, std::span<const View> inputs,
                    std::span<const View> outputs, Kept* kept);

/// What was planned for a row tape, as strips or instruction by instruction; the tape outlives it.
struct KeptRows {
    KeptRows(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
             const rows::Problem& p)
        : operands(table, inputs, outputs), problem(p) {}
    virtual ~KeptRows() = default;
    KeptRows(const KeptRows&) = delete;
    KeptRows& operator=(const KeptRows&) = delete;
    virtual void run() const = 0;

    PlannedFor operands;
    rows::Problem problem;
};

/// Runs as planned, where `kept` is a plan for such operands; else false.
bool run_kept_rows(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                   const Kept* kept);

}  // namespace tenon::tape
