// What is computed again of rows, on a device.
#pragma once

#include "schedule/program.h"

namespace tenon::schedule {

/// A value for each row that one of the library's own checkpoints would compute again (the means and deviations of a
/// norm, the maxima and sums of softmax) is read from where it was computed first, if that is needed for something else
/// anyway: it takes little memory beside its operands, and each reduction passes through all threads of a row. Returns
/// whether there is any.
bool keep_values_of_rows(Program& program);

}  // namespace tenon::schedule
