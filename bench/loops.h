// The suite `loop`: the pointwise and row operations between products, by Tenon's compiled graphs and by hand.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/run.h"

namespace bench {

inline constexpr const char* kLoopSuite = "loop";

/// What was measured of one way through one loop.
struct LoopRow {
    std::string problem, library, error;  // error: why there is no time
    int threads = 1;
    std::int64_t rows = 0, columns = 0;
    bool in_l2 = false;
    double bytes = 0;  // moved by the loop written by hand: operands and results, each once
    double bandwidth = 0;  // measured, bytes a second: of L2, or of memory
    int samples = 0;
    std::int64_t calls = 0;  // in a sample
    double seconds = 0, lower_quartile = 0, upper_quartile = 0;

    double of_bandwidth() const { return bytes / seconds / bandwidth; }
    double spread() const { return (upper_quartile - lower_quartile) / seconds; }
};

/// The rows of one problem, Tenon's first.
using LoopSink = std::function<void(const std::vector<LoopRow>&)>;

/// All problems on so many threads; the results of both ways are compared before they are timed in turn.
void run_loops(int threads, const Settings& settings, const LoopSink& sink);

std::string loop_header();
std::string loop_lines(const std::vector<LoopRow>& rows);
std::string json_object(const LoopRow& row);

}  // namespace bench
