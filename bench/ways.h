// Ways to compute the same, timed in turn, for suites that are not products of two matrices.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "bench/run.h"

namespace bench {

/// A Row has calls, samples, seconds and the two quartiles.
template <class Row>
struct Way {
    Row row;
    std::function<void()> run;
    std::vector<double> samples;

    double time(std::int64_t calls) const {
        const auto start = std::chrono::steady_clock::now();
        for (std::int64_t i = 0; i < calls; ++i) run();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
};

/// Takes one sample of each way in turn, round after round.
template <class Row>
void measure(std::vector<Way<Row>>& ways, const Settings& settings) {
    constexpr double kSampleSeconds = 0.002;
    constexpr int kMinSamples = 7, kMaxSamples = 51;
    double round = 0;
    for (Way<Row>& way : ways) {
        std::int64_t& calls = way.row.calls = 1;
        for (double t = way.time(1); t < kSampleSeconds; t = way.time(calls))
            calls = static_cast<std::int64_t>(std::ceil(
                static_cast<double>(calls) * std::clamp(1.2 * kSampleSeconds / std::max(t, 1e-9), 1.2, 16.0)));
        round += way.time(calls);
    }
    const double possible = settings.seconds * static_cast<double>(ways.size()) / round;
    const int fewest = possible < settings.samples ? kMinSamples : settings.samples;
    const int samples = std::max(fewest, static_cast<int>(std::clamp(possible, 1.0, double{kMaxSamples})));
    for (int i = 0; i < samples; ++i)
        for (Way<Row>& way : ways) {
            way.time(1 + way.row.calls / 8);
            way.samples.push_back(way.time(way.row.calls) / static_cast<double>(way.row.calls));
        }
    for (Way<Row>& way : ways) {
        std::sort(way.samples.begin(), way.samples.end());
        way.row.samples = samples;
        way.row.seconds = quantile(way.samples, 0.5);
        way.row.lower_quartile = quantile(way.samples, 0.25), way.row.upper_quartile = quantile(way.samples, 0.75);
    }
}

}  // namespace bench
