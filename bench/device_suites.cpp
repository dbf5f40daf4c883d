#include "bench/device_suites.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>

#include "bench/child.h"
#include "bench/rows.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"
#include "tenon/compile.h"
#include "tenon/device.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/random.h"

namespace bench {
namespace {

using tenon::DType;
using tenon::Tensor;
using tenon::Tree;
using Clock = std::chrono::steady_clock;

constexpr const char* kWays[] = {"eager", "compiled"};
constexpr int kInputs = 4;  // in turn, so that they do not stay in the cache
constexpr double kSampleSeconds = 0.02;
constexpr int kFewestSamples = 7, kMostSamples = 31;

const tenon::Device kGpu = tenon::Device::cuda(0);

DType dtype_of(const std::string& name) { return name == "f32" ? DType::float32 : DType::bfloat16; }

Tensor numbers(std::uint64_t seed, const tenon::Shape& shape, DType dtype) {
    // A factor that is there makes the device draw.
    static const Tensor one = tenon::to_device(tenon::full({1}, 1.0F), kGpu);
    return tenon::astype(tenon::random::normal(tenon::random::Key(seed), shape) * one, dtype);
}

template <class F>
double seconds_of(std::int64_t calls, F&& f) {
    tenon::synchronize(kGpu);
    const auto start = Clock::now();
    for (std::int64_t i = 0; i < calls; ++i) f(static_cast<int>(i % kInputs));
    tenon::synchronize(kGpu);
    return std::chrono::duration<double>(Clock::now() - start).count();
}

template <class F>
double fastest(F&& f) {
    double best = INFINITY;
    for (int i = 0; i < 8; ++i) {
        const double s = seconds_of(4, f) / 4;
        if (i > 2) best = std::min(best, s);
    }
    return best;
}

/// A copy of half a gigabyte with a number added, and a product of 8192 a side in bfloat16.
std::pair<double, double> ceilings() {
    constexpr std::int64_t kElements = std::int64_t{1} << 28, kSide = 8192;
    const Tensor x = numbers(1, {kElements}, DType::bfloat16), a = numbers(2, {kSide, kSide}, DType::bfloat16),
                 b = numbers(3, {kSide, kSide}, DType::bfloat16);
    tenon::eval({x, a, b});
    const double copy = fastest([&](int) { (x + 1).eval(); }),
                 product = fastest([&](int) { tenon::matmul(a, b).eval(); });
    return {4.0 * kElements / copy, 2.0 * kSide * kSide * kSide / product};
}

class Runner {
  public:
    virtual ~Runner() = default;
    virtual double seconds(std::int64_t calls) = 0;
};

class OfTenon : public Runner {
  public:
    explicit OfTenon(const DeviceProblem& p)
        : step_(tenon::compile([run = p.run](const Tree& x) { return run(x.leaves()); })) {
        for (int i = 0; i < kInputs; ++i) {
            std::vector<Tensor> set;
            for (std::size_t k = 0; k < p.inputs.size(); ++k) {
                const std::uint64_t seed = 10 * static_cast<std::uint64_t>(i) + k;
                const bool labels = p.classes > 0 && k + 1 == p.inputs.size();
                set.push_back(
                    labels ? tenon::to_device(
                                 tenon::random::randint(tenon::random::Key(seed), p.inputs[k], 0, p.classes), kGpu)
                           : numbers(seed, p.inputs[k], dtype_of(p.dtype)));
            }
            tenon::eval(set);
            std::vector<std::pair<std::string, Tree>> named;
            for (const Tensor& t : set) named.emplace_back("x" + std::to_string(named.size()), t);
            inputs_.emplace_back(std::move(named));
        }
        seconds(3 * kInputs);  // compiled
    }
    double seconds(std::int64_t calls) override {
        return seconds_of(calls, [&](int i) { step_(inputs_[static_cast<std::size_t>(i)]); });
    }

  private:
    using Step = std::function<std::vector<Tensor>(const Tree&)>;
    Step step_;
    std::vector<Tree> inputs_;
};

std::string spec_of(const DeviceProblem& p) {
    std::string inputs;
    for (const tenon::Shape& s : p.inputs) {
        std::string extents;
        for (const std::int64_t n : s) extents += (extents.empty() ? "" : ", ") + std::to_string(n);
        inputs += (inputs.empty() ? "[" : ", [") + extents + "]";
    }
    return "{\"inputs\": [" + inputs + "], \"dtype\": \"" + p.dtype + "\", \"classes\": " + std::to_string(p.classes) +
           ", \"python\": \"" + p.python + "\"}";
}

/// One process for all problems, one after the other. Throws std::runtime_error saying why there is none.
struct Python {
    Python() : child({python(), "-c", kDeviceSuitesScript}) {}
    /// The version of what answers.
    std::string prepare(const DeviceProblem& p) {
        child.send(spec_of(p));
        const std::vector<std::string> fields = cli::split(child.receive(), '\t');
        if (fields.size() != 2) throw std::runtime_error(python() + ": ended at once");
        if (fields[0] == "error") throw std::runtime_error(fields[1]);
        return fields[1];
    }
    Child child;
};

class OfPython : public Runner {
  public:
    OfPython(std::shared_ptr<Python> process, std::string way) : process_(std::move(process)), way_(std::move(way)) {}
    double seconds(std::int64_t calls) override {
        process_->child.send(way_ + ' ' + std::to_string(calls));
        const std::string line = process_->child.receive();
        if (line.starts_with("error\t")) throw std::runtime_error(line.substr(6));
        if (line.empty()) throw std::runtime_error(python() + ": ended while calls were timed");
        return std::strtod(line.c_str(), nullptr);
    }

  private:
    std::shared_ptr<Python> process_;
    std::string way_;
};

struct Way {
    std::unique_ptr<Runner> runner;
    DeviceRow row;
    std::vector<double> samples;
};

/// f of each way that runs; one that fails is left out from then on.
template <class F>
void each(std::vector<Way>& ways, F&& f) {
    for (Way& way : ways) {
        if (!way.runner) continue;
        try {
            f(way);
        } catch (const std::exception& e) {
            way.row.error = e.what();
            way.runner = nullptr;
        }
    }
}

/// In turn, a sample of each.
void measure(std::vector<Way>& ways, const Settings& settings) {
    double round = 0;
    each(ways, [&](Way& way) {
        way.runner->seconds(2 * kInputs);
        const double one = way.runner->seconds(2 * kInputs) / (2 * kInputs);
        way.row.calls = std::max<std::int64_t>(1, std::llround(kSampleSeconds / one / kInputs)) * kInputs;
        round += one * static_cast<double>(way.row.calls);
    });
    const double possible = settings.seconds * static_cast<double>(ways.size()) / round;
    const int fewest = possible < settings.samples ? kFewestSamples : settings.samples;
    const int samples = std::max(fewest, static_cast<int>(std::clamp(possible, 1.0, double{kMostSamples})));
    for (int i = 0; i < samples; ++i)
        each(ways, [](Way& way) {
            way.samples.push_back(way.runner->seconds(way.row.calls) / static_cast<double>(way.row.calls));
        });
    each(ways, [&](Way& way) {
        std::sort(way.samples.begin(), way.samples.end());
        way.row.samples = samples;
        way.row.seconds = quantile(way.samples, 0.5);
        way.row.lower_quartile = quantile(way.samples, 0.25), way.row.upper_quartile = quantile(way.samples, 0.75);
    });
}

std::vector<std::string> ways_of(const std::string& peers) {
    if (peers == "none") return {};
    if (peers == "all") return {std::begin(kWays), std::end(kWays)};
    const std::vector<std::string> names = cli::split(peers, ',');
    for (const std::string& name : names)
        if (std::find(std::begin(kWays), std::end(kWays), name) == std::end(kWays))
            throw tenon::ValueError("bench --device cuda: --peers " + name + ": all, none, or of " +
                                    cli::join({std::begin(kWays), std::end(kWays)}, ", "));
    return names;
}

const std::vector<cli::Column>& columns() {
    static const std::vector<cli::Column> all = {{"problem", 40, true}, {"dtype", 5, true}, {"library", 16, true},
                                                 {"median", 9},         {"spread", 7},      {"GB/s", 8},
                                                 {"TFLOP/s", 8},        {"% of floor", 10}, {"of tenon", 8}};
    return all;
}

}  // namespace

double DeviceRow::floor() const { return std::max(problem.bytes / bandwidth, problem.operations / peak); }

void run_device_problems(const std::vector<DeviceProblem>& problems, const std::string& peers, const Settings& settings,
                         const DeviceSink& sink) {
    if (tenon::cuda_device_count() == 0) throw tenon::ValueError("bench --device cuda: " + tenon::cuda_absent());
    const std::vector<std::string> names = ways_of(peers);
    const auto [bandwidth, peak] = ceilings();
    std::shared_ptr<Python> process;
    for (const DeviceProblem& problem : problems) {
        std::vector<Way> ways;
        const auto add = [&, bw = bandwidth, top = peak](const std::string& library, auto&& make) {
            Way way;
            way.row = {problem, library, "", "", bw, top};
            try {
                way.runner = make(way.row);
            } catch (const std::exception& e) {
                way.row.error = e.what();
            }
            ways.push_back(std::move(way));
        };
        add("tenon", [&](DeviceRow& row) -> std::unique_ptr<Runner> {
            row.version = TENON_VERSION;
            return std::make_unique<OfTenon>(problem);
        });
        std::string version;
        for (const std::string& name : names)
            add("pytorch " + name, [&](DeviceRow& row) -> std::unique_ptr<Runner> {
                if (!process) process = std::make_shared<Python>();
                if (version.empty()) version = process->prepare(problem);
                row.version = version;
                return std::make_unique<OfPython>(process, name);
            });
        measure(ways, settings);
        std::vector<DeviceRow> rows;
        for (const Way& way : ways) rows.push_back(way.row);
        sink(rows);
    }
}

std::string device_header() { return cli::header(columns()); }

std::string device_lines(const std::vector<DeviceRow>& rows) {
    std::string out;
    for (const DeviceRow& row : rows) {
        const std::vector<std::string> head{row.problem.name, row.problem.dtype, row.library};
        if (!row.error.empty()) {
            out += cli::row({columns().begin(), columns().begin() + 3}, head) + "  NOT TIMED: " + row.error + '\n';
            continue;
        }
        std::vector<std::string> cells = head;
        cells.insert(cells.end(),
                     {time_text(row.seconds), cli::fixed(100 * row.spread(), 1) + " %",
                      cli::fixed(row.problem.bytes / row.seconds * 1e-9, 0),
                      cli::fixed(row.problem.operations / row.seconds * 1e-12, 1),
                      cli::fixed(100 * row.floor() / row.seconds, 1), cli::fixed(row.seconds / rows[0].seconds, 2)});
        out += cli::row(columns(), cells) + '\n';
    }
    return out;
}

std::string json_object(const DeviceRow& row) {
    const auto timed = [&](double x) { return row.error.empty() ? x : std::nan(""); };
    cli::JsonObject o;
    o.add("suite", row.problem.suite).add("problem", row.problem.name).add("dtype", row.problem.dtype);
    o.add("device", "cuda").add("threads", 1).add("library", row.library).add("version", row.version);
    o.add("seconds_median", timed(row.seconds)).add("gflops", timed(row.problem.operations / row.seconds * 1e-9));
    o.add("percent_of_peak", timed(100 * row.problem.operations / row.seconds / row.peak));
    o.add("percent_of_roofline", timed(100 * row.floor() / row.seconds));
    o.add("bytes", row.problem.bytes).add("samples", row.samples).add("calls_per_sample", row.calls);
    o.add("spread_percent", timed(100 * row.spread())).add("bandwidth", row.bandwidth).add("peak", row.peak);
    if (!row.error.empty()) o.add("error", row.error);
    return o.text();
}

}  // namespace bench
