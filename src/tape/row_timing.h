// The order in which a row tape computes its registers: shared by the host's interpreter and the device's code printer.
#pragma once

#include <vector>

#include "tape/rows.h"

namespace tenon::tape {

/// When registers are computed: phase p visits the columns once the reductions of phase p - 1 are known. Codes run in
/// the order of (phase, codes of rows first, position).
struct Timing {
    std::vector<int> phase;  // of each register
    std::vector<std::size_t> order;  // of codes
    std::vector<int> last_phase;  // the last phase in which a register is read
    int phases = 1;
};
Timing timing_of(const RowTape& tape);

int operands_of(const RowTape::Code& c);
/// A reduction runs while the columns of its operand's phase are visited; its result is available in the next phase.
int running_phase(const Timing& t, const RowTape& tape, std::size_t k);
bool with_rows(const RowTape::Code& c);
DType type_of(const RowTape& tape, std::size_t reg);
bool per_row(const RowTape& tape, std::size_t reg);
/// Whether a register is read in a later phase than it is computed in, so that its whole row is kept.
bool is_kept(const RowTape& tape, const Timing& t, std::size_t reg);

}  // namespace tenon::tape
