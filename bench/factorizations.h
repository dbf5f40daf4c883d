// The suite `small-factorizations`: batches of small matrices, by Tenon and by a loop over a library's LAPACK.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/run.h"

namespace bench {

inline constexpr const char* kFactorizationSuite = "small-factorizations";

/// What was measured of one library on one batch.
struct FactorizationRow {
    std::string problem, dtype, library, version, error;  // error: why there is no time
    int threads = 1;
    std::int64_t batch = 0, order = 0;
    double operations = 0;  // LAPACK's count
    int samples = 0;
    std::int64_t calls = 0;  // in a sample
    double seconds = 0, lower_quartile = 0, upper_quartile = 0;

    double spread() const { return (upper_quartile - lower_quartile) / seconds; }
};

/// The rows of one problem, Tenon's first.
using FactorizationSink = std::function<void(const std::vector<FactorizationRow>&)>;

/// Runs all problems on `threads` threads. `peers` are as for load_peers; libraries without LAPACK are left out. The
/// benchmark's threads share out a batch, and each calls a library that runs on one. Results are compared before they
/// are timed.
void run_factorizations(const std::string& peers, int threads, const Settings& settings, const FactorizationSink& sink);

std::string factorization_header();
std::string factorization_lines(const std::vector<FactorizationRow>& rows);
std::string json_object(const FactorizationRow& row);

}  // namespace bench
