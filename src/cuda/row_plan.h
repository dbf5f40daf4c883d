// What printed kernels for row tapes do in each phase, independently of where they keep values between phases.
#pragma once

#include <cstddef>
#include <vector>

#include "tape/row_timing.h"

namespace tenon::cuda {

/// A pass over the columns. Codes are given by their index, elements by their register.
struct RowPhase {
    std::vector<std::size_t> rows;  // codes that compute values of rows, before the columns are visited
    std::vector<std::size_t> reductions;  // codes
    std::vector<std::size_t> outputs;  // indices of outputs with a value for each element
    std::vector<std::size_t> keeps;  // registers that are loaded or computed here first, and that later phases read
    std::vector<std::size_t> loads, computes;  // registers of elements, in order
    bool visits_columns() const { return !keeps.empty() || !reductions.empty() || !outputs.empty(); }
};

struct RowPlan {
    tape::Timing timing;
    std::vector<RowPhase> phases;
    std::vector<std::size_t> kept;
    // For each register of `kept`, the phase that loads or computes it, and the last one that reads it.
    std::vector<int> first, last;
};

/// `kept` are the registers of elements whose values stay from phase to phase (kept_registers, kept_packed or none).
/// Others are loaded and computed again in each phase.
RowPlan plan_of(const tape::RowTape& tape, std::vector<std::size_t> kept);

/// The registers of elements that more than one phase needs.
std::vector<std::size_t> kept_registers(const tape::RowTape& tape);

/// The same, but where phases need a 16-bit input as float32, one of them for an extreme, the input is kept and not its
/// float32 values. That takes half as many registers, and one instruction computes the extremes of two elements.
std::vector<std::size_t> kept_packed(const tape::RowTape& tape);

}  // namespace tenon::cuda
