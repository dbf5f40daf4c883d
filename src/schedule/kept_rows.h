// What is computed again of rows, on a device.
#pragma once

#include "schedule/program.h"

namespace tenon::schedule {

/// What a checkpoint of the library's own computes again, and has a value of a row where it is computed first, too (the
/// means and deviations of a norm, the maxima and sums of softmax), is read from there instead: it takes a part of the
/// memory that its operands do, and each reduction is a way through all threads of a row. Only where the first is
/// computed for something else anyway. Returns whether there is any.
bool keep_values_of_rows(Program& program);

}  // namespace tenon::schedule
