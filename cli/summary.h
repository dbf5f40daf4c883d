// The results of a run, for the table and the report.
#pragma once

#include <tenon/profile.h>

#include <cstdint>
#include <vector>

#include "trainer.h"

namespace cli {

struct Summary {
    RunOptions options;
    std::int64_t parameters = 0, multiply_adds = 0;
    std::vector<Epoch> epochs;
    /// Seconds of the run, and training images a second, both in this process.
    double seconds = 0, images_per_second = 0;
    /// The profile of this process, the longest entry first; empty if it was not requested.
    std::vector<tenon::profile::Entry> operations;
};

}  // namespace cli
