// The measurement: the libraries take samples in turn, so that a disturbance of the machine slows all of them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/peer.h"
#include "bench/problem.h"
#include "tenon/machine.h"

namespace bench {

struct Settings {
    /// At least this many samples, and as many as `seconds` for each library allow.
    int samples = 9;
    double seconds = 1;
    /// Each call takes other operands, which together exceed the last-level cache; else all take the same.
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
    /// Calls in a sample.
    std::int64_t calls = 0;
    /// Seconds of one call: the median of the samples, and their quartiles.
    double seconds = 0, lower_quartile = 0, upper_quartile = 0;
    /// Operations a second: of the median, and the machine's limits.
    double rate = 0, peak = 0, roofline = 0;

    double gflops() const { return rate * 1e-9; }
    double of_peak() const { return rate / peak; }
    double of_roofline() const { return rate / roofline; }
    /// The interquartile range as a fraction of the median.
    double spread() const { return (upper_quartile - lower_quartile) / seconds; }
};

/// The quantile q, from 0 to 1, of one or more sorted values, interpolated between the two nearest.
double quantile(const std::vector<double>& sorted, double q);

/// The rows of one problem, Tenon's first. Libraries that decline the problem have none.
using Sink = std::function<void(const std::vector<Row>&)>;

/// `peers` begins with Tenon. Each library's result is checked before it is timed.
void run(const std::vector<Problem>& problems, const std::vector<Peer>& peers, const tenon::Ceilings& ceilings,
         const Settings& settings, const Sink& sink);

}  // namespace bench
