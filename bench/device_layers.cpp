#include "bench/device_layers.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "bench/child.h"
#include "bench/problem.h"
#include "bench/rows.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"
#include "tenon/device.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace bench {
namespace {

using tenon::DType;
using tenon::Tensor;
using Clock = std::chrono::steady_clock;

constexpr const char* kDefault = "16384x1024x1024,16384x4096x4096,16384x16384x16384";
constexpr const char* kWays[] = {
    "dense",  "strided",         "natural",  "natural-compiled", "contiguous", "contiguous-compiled",
    "einsum", "einsum-compiled", "in-place", "in-place-compiled"};
constexpr std::int64_t kOthersWidth = 4096, kLowRank = 256;  // of the structures that are no block tensor trains
constexpr int kInputs = 4;  // in turn, so that they do not stay in the cache
constexpr double kSampleSeconds = 0.02;
constexpr int kFewestSamples = 7, kMostSamples = 31;

const tenon::Device kGpu = tenon::Device::cuda(0);

Tensor halves(std::uint64_t seed, const tenon::Shape& shape) {
    return tenon::astype(tenon::to_device(tenon::random::normal(tenon::random::Key(seed), shape), kGpu),
                         DType::bfloat16);
}

/// Calls of `f` with the numbers of inputs, until the device has done them all.
template <class F>
double seconds_of(std::int64_t calls, F&& f) {
    tenon::synchronize(kGpu);
    const auto start = Clock::now();
    for (std::int64_t i = 0; i < calls; ++i) f(static_cast<int>(i % kInputs));
    tenon::synchronize(kGpu);
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The fastest of some runs, after others.
template <class F>
double fastest(F&& f) {
    double best = INFINITY;
    for (int i = 0; i < 8; ++i) {
        const double s = seconds_of(4, f) / 4;
        if (i > 2) best = std::min(best, s);
    }
    return best;
}

/// Who computes the layer, so many times.
class Runner {
  public:
    virtual ~Runner() = default;
    virtual double seconds(std::int64_t calls) = 0;
};

class OfTenon : public Runner {
  public:
    explicit OfTenon(const DeviceLayer& l) : backward_(l.backward) {
        const bool has_rank = l.structure != "kronecker";
        const tenon::LinearMap map =
            tenon::map::random(l.structure, tenon::random::Key(7), l.width, l.width,
                               has_rank ? tenon::map::Options{.rank = l.rank} : tenon::map::Options{});
        std::vector<Tensor> leaves;
        for (const Tensor& t : map.parameters().leaves())
            leaves.push_back(tenon::to_device(tenon::astype(t, DType::bfloat16), kGpu));
        map_ = map.with_parameters(map.parameters().with_leaves(leaves));
        for (int i = 0; i < kInputs; ++i) {
            x_.push_back(halves(10 + static_cast<std::uint64_t>(i), {l.rows, l.width}));
            dy_.push_back(halves(20 + static_cast<std::uint64_t>(i), {l.rows, l.width}));
        }
        tenon::eval(leaves), tenon::eval(x_), tenon::eval(dy_);
        seconds(3 * kInputs);  // compiled
    }
    double seconds(std::int64_t calls) override {
        return seconds_of(calls,
                          [&](int i) { step(x_[static_cast<std::size_t>(i)], dy_[static_cast<std::size_t>(i)]); });
    }

  private:
    void step(const Tensor& x, const Tensor& dy) const {
        if (!backward_) {
            map_(x).eval();
            return;
        }
        tenon::eval(with_gradients(x, dy));
    }

    /// What backward reads belongs to no one once this returns, as in a framework that frees its tape: a value that
    /// someone holds is stored for them, row-major, beside what the kernels keep.
    std::vector<Tensor> with_gradients(const Tensor& x, const Tensor& dy) const {
        const tenon::Tree at({{"layer", map_.parameters()}, {"x", x}});
        const auto [y, back] = tenon::vjp(
            [&](const tenon::Tree& t) { return tenon::Tree(map_.with_parameters(t["layer"])(t["x"].tensor())); }, at);
        std::vector<Tensor> all = back(tenon::Tree(dy)).leaves();
        all.push_back(y.tensor());
        return all;
    }

    bool backward_;
    tenon::LinearMap map_;
    std::vector<Tensor> x_, dy_;
};

/// One process for all ways. Throws std::runtime_error saying why there is none.
struct Python {
    explicit Python(const DeviceLayer& l)
        : child({python(), "-c", kDeviceLayersScript,
                 "{\"structure\": \"" + l.structure + "\", \"rows\": " + std::to_string(l.rows) + ", \"block\": " +
                     std::to_string(std::llround(std::sqrt(l.width))) + ", \"rank\": " + std::to_string(l.rank) +
                     ", \"backward\": " + (l.backward ? "true" : "false") + "}"}) {
        const std::vector<std::string> fields = cli::split(child.receive(), '\t');
        if (fields.size() != 2) throw std::runtime_error(python() + ": ended at once");
        if (fields[0] == "error") throw std::runtime_error(fields[1]);
        version = fields[1];
    }
    Child child;
    std::string version;
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
    DeviceLayerRow row;
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
            throw tenon::ValueError("bench chain --device cuda: --peers " + name + ": all, none, or of " +
                                    cli::join({std::begin(kWays), std::end(kWays)}, ", "));
    return names;
}

const std::vector<cli::Column>& columns() {
    static const std::vector<cli::Column> all = {{"layer", 34, true}, {"library", 24, true}, {"median", 9},
                                                 {"spread", 7},       {"TFLOP/s", 8},        {"of the floor", 12},
                                                 {"of tenon", 8}};
    return all;
}

}  // namespace

std::string DeviceLayer::name() const {
    return structure + (structure == "kronecker" ? "" : "-r" + std::to_string(rank)) + (backward ? "-backward " : " ") +
           std::to_string(rows) + 'x' + std::to_string(width) + 'x' + std::to_string(width);
}
double DeviceLayer::operations() const {
    const double w = static_cast<double>(width), inner = structure == "low-rank" ? 1 : std::sqrt(w);
    return (backward ? 3 : 1) * 4.0 * static_cast<double>(rows * rank) * w * inner;
}
double DeviceLayer::bytes() const {
    const double w = static_cast<double>(width), r = static_cast<double>(rank);
    const double cores = structure == "kronecker" ? 2 * w : 2 * r * w * (structure == "low-rank" ? 1 : std::sqrt(w));
    return 2 * ((backward ? 5 : 2) * static_cast<double>(rows) * w + (backward ? 3 : 1) * cores);
}
double DeviceLayerRow::floor() const { return std::max(layer.bytes() / bandwidth, layer.operations() / peak); }

/// A copy of half a gigabyte with a number added, and a product.
DeviceCeilings device_ceilings() {
    constexpr std::int64_t kElements = std::int64_t{1} << 28, kSide = 8192;
    const Tensor x = halves(1, {kElements}), a = halves(2, {kSide, kSide}), b = halves(3, {kSide, kSide});
    tenon::eval({x, a, b});
    const double copy = fastest([&](int) { (x + 1).eval(); }),
                 product = fastest([&](int) { tenon::matmul(a, b).eval(); });
    return {4.0 * kElements / copy, 2.0 * kSide * kSide * kSide / product};
}

std::vector<DeviceLayer> device_layers(const std::string& shapes) {
    std::vector<DeviceLayer> layers;
    for (const std::string& item : cli::split(shapes.empty() ? kDefault : shapes, ',')) {
        const Shape s = parse_shape(item);
        const auto root = std::llround(std::sqrt(static_cast<double>(s.n)));
        if (s.batch != 1 || s.n != s.k || root * root != s.n)
            throw tenon::ValueError("bench chain --device cuda: --shapes " + item +
                                    ": rows x width x width, the width a square, as in " + kDefault);
        for (const bool backward : {false, true}) {
            for (const std::int64_t rank : {1, 2, 4}) layers.push_back({"btt", s.m, s.n, rank, backward});
            if (s.n != kOthersWidth) continue;
            layers.push_back({"kronecker", s.m, s.n, 1, backward});
            layers.push_back({"low-rank", s.m, s.n, kLowRank, backward});
        }
    }
    return layers;
}

void run_device_layers(const std::vector<DeviceLayer>& layers, const std::string& peers, const Settings& settings,
                       const DeviceLayerSink& sink) {
    if (tenon::cuda_device_count() == 0) throw tenon::ValueError("bench chain --device cuda: " + tenon::cuda_absent());
    const std::vector<std::string> names = ways_of(peers);
    const auto [bandwidth, peak] = device_ceilings();
    for (const DeviceLayer& layer : layers) {
        std::vector<Way> ways;
        const auto add = [&, bw = bandwidth, top = peak](const std::string& library, auto&& make) {
            Way way;
            way.row = {layer, library, "", "", bw, top};
            try {
                way.runner = make(way.row);
            } catch (const std::exception& e) {
                way.row.error = e.what();
            }
            ways.push_back(std::move(way));
        };
        add("tenon", [&](DeviceLayerRow& row) -> std::unique_ptr<Runner> {
            row.version = TENON_VERSION;
            return std::make_unique<OfTenon>(layer);
        });
        std::shared_ptr<Python> process;
        for (const std::string& name : names) {
            if (layer.structure != "btt" && (name.starts_with("contiguous") || name.starts_with("in-place"))) continue;
            add("pytorch " + name, [&](DeviceLayerRow& row) -> std::unique_ptr<Runner> {
                if (!process) process = std::make_shared<Python>(layer);
                row.version = process->version;
                return std::make_unique<OfPython>(process, name);
            });
        }
        measure(ways, settings);
        std::vector<DeviceLayerRow> rows;
        for (const Way& way : ways) rows.push_back(way.row);
        sink(rows);
    }
}

std::string device_layer_header() { return cli::header(columns()); }

std::string device_layer_lines(const std::vector<DeviceLayerRow>& rows) {
    std::string out;
    for (const DeviceLayerRow& row : rows) {
        const std::vector<std::string> head{row.layer.name(), row.library};
        if (!row.error.empty()) {
            out += cli::row({columns().begin(), columns().begin() + 2}, head) + "  NOT TIMED: " + row.error + '\n';
            continue;
        }
        std::vector<std::string> cells = head;
        cells.insert(cells.end(),
                     {time_text(row.seconds), cli::fixed(100 * row.spread(), 1) + " %",
                      cli::fixed(row.layer.operations() / row.seconds * 1e-12, 1),
                      cli::fixed(row.seconds / row.floor(), 2), cli::fixed(row.seconds / rows[0].seconds, 2)});
        out += cli::row(columns(), cells) + '\n';
    }
    return out;
}

std::string json_object(const DeviceLayerRow& row) {
    const auto timed = [&](double x) { return row.error.empty() ? x : std::nan(""); };
    cli::JsonObject o;
    o.add("suite", "chain")
        .add("problem", row.layer.name())
        .add("dtype", "bf16")
        .add("device", "cuda")
        .add("threads", 1);
    o.add("library", row.library).add("version", row.version).add("seconds_median", timed(row.seconds));
    o.add("gflops", timed(row.layer.operations() / row.seconds * 1e-9));
    o.add("percent_of_peak", timed(100 * row.layer.operations() / row.seconds / row.peak));
    o.add("percent_of_roofline", timed(100 * row.floor() / row.seconds));
    o.add("samples", row.samples).add("calls_per_sample", row.calls).add("spread_percent", timed(100 * row.spread()));
    o.add("bandwidth", row.bandwidth).add("peak", row.peak);
    if (!row.error.empty()) o.add("error", row.error);
    return o.text();
}

}  // namespace bench
