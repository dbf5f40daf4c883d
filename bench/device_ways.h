// Ways to compute the same on a GPU, timed in turn: Tenon's, and those of a process that times its own calls.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <span>
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

/// What cuda:0 reaches, measured: bytes a second when a number is added to half a gigabyte, and operations a second of
/// a bfloat16 product of 8192 x 8192 matrices.
struct DeviceCeilings {
    double bandwidth, peak;
};
DeviceCeilings device_ceilings();

/// The seconds that `calls` calls of f(number of the inputs) take, until the device has finished them.
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
    // The product with a tensor on the device makes the device draw the numbers.
    static const tenon::Tensor one = tenon::to_device(tenon::full({1}, 1.0F), kGpu);
    return tenon::astype(tenon::random::normal(tenon::random::Key(seed), shape) * one, dtype);
}

/// Computes a problem, and returns the seconds that `calls` calls take.
class Runner {
  public:
    virtual ~Runner() = default;
    virtual double seconds(std::int64_t calls) = 0;
};

/// A way of a process that answers the line "WAY CALLS" by the seconds, or by "error" and the reason.
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

/// PyTorch's part of a suite: one process for all problems, which the first way starts.
class TorchScript {
  public:
    explicit TorchScript(const char* text) : text_(text) {}

    /// The runner of a way to compute the problem that `spec` describes, and PyTorch's version. Throws
    /// std::runtime_error if there is no PyTorch or no GPU for it.
    std::unique_ptr<Runner> way(const std::string& spec, const std::string& name, std::string& version) {
        if (!process_) process_ = std::make_shared<Child>(std::vector<std::string>{python(), "-c", text_});
        if (spec != spec_) {
            spec_.clear();
            process_->send(spec);
            version_ = version_of(*process_);
            spec_ = spec;
        }
        version = version_;
        return std::make_unique<OfPython>(process_, name);
    }

  private:
    const char* text_;
    std::shared_ptr<Child> process_;
    std::string spec_, version_;  // of the problem that the process has
};

/// The ways of one problem. A Row has calls, samples, seconds, the two quartiles, and an error if there is no time.
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

    /// Takes one sample of each way in turn, round after round. Before each sample the same calls run untimed: the
    /// device's clock follows its power, and would otherwise still be that of the way before.
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

    /// Calls f with each way that still runs. One that throws is left out from then on.
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

/// The names in `peers`, which is all, none, or a list of names that are `known`. Throws ValueError.
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
