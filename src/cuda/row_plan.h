// What the kernels printed for row tapes do in each phase, whichever way they keep values between phases.
#pragma once

#include <cstddef>
#include <vector>

#include "tape/row_timing.h"

namespace tenon::cuda {

/// A pass over the columns. Codes are given by number, others by register.
struct RowPhase {
    std::vector<std::size_t> rows;  // codes of rows, before the columns
    std::vector<std::size_t> reductions;  // codes
    std::vector<std::size_t> outputs;  // positions, of elements
    std::vector<std::size_t> keeps;  // registers that later phases read, first read or computed here
    std::vector<std::size_t> loads, computes;  // registers of elements, in order
    bool visits_columns() const { return !keeps.empty() || !reductions.empty() || !outputs.empty(); }
};

struct RowPlan {
    tape::Timing timing;
    std::vector<RowPhase> phases;
    std::vector<std::size_t> kept;
    std::vector<int> first, last;  // phases of what is kept: where it comes to be, and where it is read last
};

/// `kept`: registers of elements whose values stay from phase to phase (kept_registers, or none of them); others are
/// read and computed again.
RowPlan plan_of(const tape::RowTape& tape, std::vector<std::size_t> kept);

/// Registers of elements that more than one phase needs.
std::vector<std::size_t> kept_registers(const tape::RowTape& tape);

/// The same, but 16-bit inputs where those of their values as float32 are wanted, an extreme among what wants them:
/// half as many words, and extremes of two elements in an instruction.
std::vector<std::size_t> kept_packed(const tape::RowTape& tape);

}  // namespace tenon::cuda
