// Ways to do the same on a GPU, timed in turn: Tenon's, and those of a process that answers how long its calls took.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/child.h"
#include "bench/rows.h"
#include "bench/run.h"
#include "cli/text.h"
#include "tenon/device.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/random.h"

namespace bench {

inline constexpr int kDeviceInputs = 4;  // in turn, so that they do not stay in the cache
inline const tenon::Device kGpu = tenon::Device::cuda(0);

/// Of cuda:0, measured: bytes a second of a copy of half a gigabyte with a number added, operations a second of a
/// bfloat16 product of 8192 a side.
struct DeviceCeilings {
    double bandwidth, peak;
};
DeviceCeilings device_ceilings();

/// Calls of `f` with the numbers of inputs, until the device has done them all.
template <class F>
double device_seconds(std::int64_t calls, F&& f) {
    tenon::synchronize(kGpu);
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < calls; ++i) f(static_cast<int>(i % kDeviceInputs));
    tenon::synchronize(kGpu);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Normal numbers, drawn on the device.
inline tenon::Tensor device_numbers(std::uint64_t seed, const tenon::Shape& shape, tenon::DType dtype) {
    // A factor that is there makes the device draw.
    static const tenon::Tensor one = tenon::to_device(tenon::full({1}, 1.0F), kGpu);
    return tenon::astype(tenon::random::normal(tenon::random::Key(seed), shape) * one, dtype);
}

/// Who computes it, so many times.
class Runner {
  public:
    virtual ~Runner() = default;
    virtual double seconds(std::int64_t calls) = 0;
};

/// A way of a process that takes "WAY CALLS" and answers seconds, or "error" and why.
class OfPython : public Runner {
  public:
    OfPython(std::shared_ptr<Child> process, std::string way) : process_(std::move(process)), way_(std::move(way)) {}
    double seconds(std::int64_t calls) override {
        const std::string answer = ask(*process_, way_ + ' ' + std::to_string(calls), "calls were timed");
        return std::strtod(answer.c_str(), nullptr);
    }

  private:
    std::shared_ptr<Child> process_;
    std::string way_;
};

/// `Row` has calls, samples, seconds, the two quartiles, and why there is no time.
template <class Row>
class DeviceWays {
  public:
    /// `make` gives the runner, and may fill the row.
    template <class Make>
    void add(const Row& row, Make&& make) {
        ways_.push_back({nullptr, row, {}});
        Way& way = ways_.back();
        try {
            way.runner = make(way.row);
        } catch (const std::exception& e) {
            way.row.error = e.what();
        }
    }

    /// One sample of each way in turn, round after round. Before each the same calls run untimed: the device's clock
    /// follows its power, and would otherwise be that of the way before.
    std::vector<Row> measure(const Settings& settings) {
        constexpr double kSampleSeconds = 0.02;
        constexpr int kMinSamples = 7, kMaxSamples = 31;
        double round = 0;
        each([&](Way& way) {
            way.runner->seconds(2 * kDeviceInputs);
            const double one = way.runner->seconds(2 * kDeviceInputs) / (2 * kDeviceInputs);
            way.row.calls =
                std::max<std::int64_t>(1, std::llround(kSampleSeconds / one / kDeviceInputs)) * kDeviceInputs;
            round += one * static_cast<double>(way.row.calls);
        });
        const double possible = settings.seconds * static_cast<double>(ways_.size()) / round;
        const int fewest = possible < settings.samples ? kMinSamples : settings.samples;
        const int samples = std::max(fewest, static_cast<int>(std::clamp(possible, 1.0, double{kMaxSamples})));
        for (int i = 0; i < samples; ++i)
            each([](Way& way) {
                way.runner->seconds(way.row.calls);
                way.samples.push_back(way.runner->seconds(way.row.calls) / static_cast<double>(way.row.calls));
            });
        each([&](Way& way) {
            std::sort(way.samples.begin(), way.samples.end());
            way.row.samples = samples;
            way.row.seconds = quantile(way.samples, 0.5);
            way.row.lower_quartile = quantile(way.samples, 0.25), way.row.upper_quartile = quantile(way.samples, 0.75);
        });
        std::vector<Row> rows;
        for (const Way& way : ways_) rows.push_back(way.row);
        return rows;
    }

  private:
    struct Way {
        std::unique_ptr<Runner> runner;
        Row row;
        std::vector<double> samples;
    };

    /// f of each way that runs; one that fails is left out from then on.
    template <class F>
    void each(F&& f) {
        for (Way& way : ways_) {
            if (!way.runner) continue;
            try {
                f(way);
            } catch (const std::exception& e) {
                way.row.error = e.what();
                way.runner = nullptr;
            }
        }
    }

    std::vector<Way> ways_;
};

/// The names in `peers`: all, none, or of `known`. Throws ValueError.
inline std::vector<std::string> device_peers(const std::string& peers, std::span<const char* const> known) {
    if (peers == "none") return {};
    std::vector<std::string> all(known.begin(), known.end());
    if (peers == "all") return all;
    std::vector<std::string> names = cli::split(peers, ',');
    for (const std::string& name : names)
        if (std::find(all.begin(), all.end(), name) == all.end())
            throw tenon::ValueError("bench --device cuda: --peers " + name + ": all, none, or of " +
                                    cli::join(all, ", "));
    return names;
}

}  // namespace bench
