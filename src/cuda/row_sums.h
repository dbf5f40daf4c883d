// A row tape together with sums of columns of what it reads and computes, as in a norm's gradient.
#pragma once

#include <cstdint>
#include <span>

#include "base/view.h"
#include "cuda/device.h"
#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// Whether one pass may take so many rows of so many columns.
bool may_take_one_pass(std::int64_t rows, std::int64_t columns);

/// Runs run_rows (loops.h) and then sum_columns (column_sums.h), whose inputs may be outputs of the row tape with a
/// value for each row, repeated along the columns. Both run in one pass over the operands on compute capability 9.0, if
/// rows have 256, 512, 768 or 1,024 columns, there are more than 16,384 of them, and operands are aligned to 16 bytes.
/// The bits are the same either way. No output may overlap an input.
void run_rows_and_sums(Gpu& gpu, const tape::RowTape& rows, const tape::Tape& sums, std::span<const View> inputs,
                       std::span<const View> sums_inputs, std::span<const View> outputs,
                       std::span<const View> sums_outputs);

}  // namespace tenon::cuda
