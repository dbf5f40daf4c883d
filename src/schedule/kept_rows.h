// Row values that would be computed again, on a device.
#pragma once

#include "schedule/program.h"

namespace tenon::schedule {

/// A value for each row (the means and deviations of a norm, the maxima and sums of softmax) that one of the library's
/// own checkpoints would compute again is read from where it was computed first, if it is needed for something else
/// anyway: it takes little memory beside its operands, and each reduction involves all threads of a row. Returns
/// whether there is any.
bool keep_values_of_rows(Program& program);

}  // namespace tenon::schedule
