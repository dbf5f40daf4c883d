// Loops whose costly part is a function of one bfloat16 value (gelu, its slope, silu). A block first computes that
// function for all usual values, by the same instructions, and then looks it up for each element. So the bits are the
// same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tape/tape.h"

namespace tenon::cuda {

struct TablePlan {
    std::size_t at;  // the register whose value is the table's index
    std::vector<std::size_t> found;  // one or two float32 or bfloat16 registers, which the table holds
    std::vector<bool> computed;  // whether the loop itself computes a register
    tape::Tape table;  // computes `found` from the value at `at` and then the scalars
    std::vector<std::size_t> scalars;  // the loop's inputs that `table` reads after the value
};

/// The table that saves most, if it saves enough. `scalar` says of each input whether it is the same for all elements.
std::optional<TablePlan> table_of(const tape::Tape& tape, const std::vector<bool>& scalar);

// The bits of the bfloat16 values that are looked up: magnitudes from 2^-14 to 16. Others are computed.
inline constexpr int kTableLow = 113 << 7, kTableSpan = 18 << 7;

inline constexpr int kTableThreads = 1024, kTableWidth = 8;
/// With fewer elements a table does not pay.
inline constexpr std::int64_t kTableElements = std::int64_t{1} << 21;

/// Prints the loop. A thread takes 8 elements at a time, which are adjacent in memory in all operands but the scalars,
/// and goes on by 8 times the number of threads. Its arguments are those of a loop along one axis (print_tape.h).
std::string print_table_loop(const tape::Tape& tape, const std::vector<bool>& scalar);

/// Whether a table pays for the tape; the answer is remembered.
bool has_table(const tape::Tape& tape, const std::vector<bool>& scalar);

}  // namespace tenon::cuda
