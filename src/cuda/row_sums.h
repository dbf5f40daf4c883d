// Work on rows and sums of columns over what it reads and computes: a norm's gradient in both directions.
#pragma once

#include <cstdint>
#include <span>

#include "base/view.h"
#include "cuda/device.h"
#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// Whether this many rows of this many columns may be taken in one pass.
bool may_take_one_pass(std::int64_t rows, std::int64_t columns);

/// run_rows (loops.h), then sum_columns (column_sums.h), whose inputs may be outputs of rows, repeated along the
/// columns. In one pass over what both read where a row has 256, 512, 768 or 1,024 columns, there are more than 16,384
/// rows and operands lie at multiples of 16 bytes; on compute capability 9.0. The bits are the same either way. No
/// output may overlap an input.
void run_rows_and_sums(Gpu& gpu, const tape::RowTape& rows, const tape::Tape& sums, std::span<const View> inputs,
                       std::span<const View> sums_inputs, std::span<const View> outputs,
                       std::span<const View> sums_outputs);

}  // namespace tenon::cuda
