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
    /// Of the whole run, and training images a second, in this process.
    double seconds = 0, images_per_second = 0;
    /// Where this process's time went, the longest first; empty where it was not asked for.
    std::vector<tenon::profile::Entry> operations;
};

}  // namespace cli
