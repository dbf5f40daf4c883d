// Loops whose costly part is a function of one bfloat16 value (gelu, its slope, silu). A block first computes it for
// each of the usual values, by the same instructions, and then looks it up for each element; so the bits are the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tape/tape.h"

namespace tenon::cuda {

struct TablePlan {
    std::size_t at;  // the register that looks up
    std::vector<std::size_t> found;  // float32 or bfloat16 registers, one or two, which the table gives
    std::vector<bool> computed;  // by register: by the loop itself
    tape::Tape table;  // of the value, then of the scalars; an output for each that is found
    std::vector<std::size_t> scalars;  // inputs of the tape
};

/// The table that saves most, if it saves enough; `scalar` says of each input whether it is the same for all elements.
std::optional<TablePlan> table_of(const tape::Tape& tape, const std::vector<bool>& scalar);

// Values of magnitudes 2^-14 to 16 are looked up, others computed: in the upper halves of their float32.
inline constexpr int kTableLow = 113 << 7, kTableSpan = 18 << 7;

inline constexpr int kTableThreads = 1024, kTableWidth = 8;
/// Elements below which the table does not pay.
inline constexpr std::int64_t kTableElements = std::int64_t{1} << 21;

/// The loop over elements in eights, which are adjacent in memory in all operands but the scalars; its arguments are
/// those of a loop along one axis (print_tape.h). A thread takes every n-th eight, of n that run.
std::string print_table_loop(const tape::Tape& tape, const std::vector<bool>& scalar);

/// Whether there is a table; the answer is remembered.
bool has_table(const tape::Tape& tape, const std::vector<bool>& scalar);

}  // namespace tenon::cuda
