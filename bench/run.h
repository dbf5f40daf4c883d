// The measurement: libraries in turn, sample by sample, so that what slows the machine slows all.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/peer.h"
#include "bench/problem.h"
#include "tenon/machine.h"

namespace bench {

struct Settings {
    /// At least this many, and as many as `seconds` for a library allow.
    int samples = 9;
    double seconds = 1;
    /// Each call on other operands, together beyond the last-level cache; else on the same ones again and again.
    bool cold = false;
};

/// What was measured of one library on one problem.
struct Row {
    Problem problem;
    int threads = 1;
    std::string library, version;
    /// Why there is no time: the result was wrong, or the library failed.
    std::string error;
    bool cold = false;
    int samples = 0;
    /// In a sample.
    std::int64_t calls = 0;
    /// Of one call: the median of the samples, and their quartiles.
    double seconds = 0, lower_quartile = 0, upper_quartile = 0;
    /// Operations a second: of the median, and the limits.
    double rate = 0, peak = 0, roofline = 0;

    double gflops() const { return rate * 1e-9; }
    double of_peak() const { return rate / peak; }
    double of_roofline() const { return rate / roofline; }
    /// The distance of the quartiles, of the median.
    double spread() const { return (upper_quartile - lower_quartile) / seconds; }
};

/// Between the two nearest of sorted values, at least one; q from 0 to 1.
double quantile(const std::vector<double>& sorted, double q);

/// The rows of one problem; Tenon's first. Libraries that do not take the problem have none.
using Sink = std::function<void(const std::vector<Row>&)>;

/// `peers` begins with Tenon. Each library's result is checked before it is timed.
void run(const std::vector<Problem>& problems, const std::vector<Peer>& peers, const tenon::Ceilings& ceilings,
         const Settings& settings, const Sink& sink);

}  // namespace bench
