// `tenon train`.
#pragma once

#include "train_options.h"

namespace cli {

/// Trains every run, prints rows, writes checkpoints and the report. Returns the exit status: 0, or 130 when a signal
/// asked for an early end. Throws tenon::Error for bad input, before anything is written.
int train(const TrainOptions& options);

}  // namespace cli
