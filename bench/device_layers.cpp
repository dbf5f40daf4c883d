#include "bench/device_layers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>

#include "bench/device_ways.h"
#include "bench/problem.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"
#include "tenon/compile.h"
#include "tenon/device.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/transform.h"
#include "tenon/version.h"

namespace bench {
namespace {

using tenon::DType;
using tenon::Tensor;

constexpr const char* kDefault = "16384x1024x1024,16384x4096x4096,16384x16384x16384";
constexpr const char* kWays[] = {
    "dense",  "strided",         "natural",  "natural-compiled", "contiguous", "contiguous-compiled",
    "einsum", "einsum-compiled", "in-place", "in-place-compiled"};
constexpr std::int64_t kOthersWidth = 4096, kLowRank = 256;  // of the structures that are no block tensor trains

Tensor halves(std::uint64_t seed, const tenon::Shape& shape) { return device_numbers(seed, shape, DType::bfloat16); }

/// The fastest of some runs, after others.
template <class F>
double fastest(F&& f) {
    double best = INFINITY;
    for (int i = 0; i < 8; ++i) {
        const double s = device_seconds(4, f) / 4;
        if (i > 2) best = std::min(best, s);
    }
    return best;
}

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
        for (int i = 0; i < kDeviceInputs; ++i) {
            x_.push_back(halves(10 + static_cast<std::uint64_t>(i), {l.rows, l.width}));
            dy_.push_back(halves(20 + static_cast<std::uint64_t>(i), {l.rows, l.width}));
        }
        tenon::eval(leaves), tenon::eval(x_), tenon::eval(dy_);
        seconds(3 * kDeviceInputs);  // compiled
    }
    double seconds(std::int64_t calls) override {
        return device_seconds(calls,
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

    /// Keeps no handle to what backward reads once this returns, as in a framework that frees its tape. A value with a
    /// handle would be stored row-major in addition to what the kernels keep.
    std::vector<Tensor> with_gradients(const Tensor& x, const Tensor& dy) const {
        const tenon::Tree at({{"layer", map_.parameters()}, {"x", x}});
        const auto [y, back] = tenon::vjp(
            [&](const tenon::Tree& t) { return tenon::Tree(map_.with_parameters(t["layer"])(t["x"].tensor())); }, at);
        std::vector<Tensor> all = back(tenon::Tree(dy)).leaves();
        all.push_back(y.tensor());
        return all;
    }

  protected:
    bool backward_;
    tenon::LinearMap map_;
    std::vector<Tensor> x_, dy_;
};

/// The layer over all inputs as one compiled function, as each way of PyTorch's is one CUDA graph over them.
class CompiledOfTenon : public OfTenon {
  public:
    explicit CompiledOfTenon(const DeviceLayer& l)
        : OfTenon(l), inputs_(tenon::Tree::list(std::vector<tenon::Tree>(x_.begin(), x_.end()))) {
        for (int i = 0; i < 3; ++i) layers_(inputs_);
    }
    double seconds(std::int64_t calls) override {
        return device_seconds(calls / kDeviceInputs, [&](int) { layers_(inputs_); });
    }

  private:
    std::vector<Tensor> all(const tenon::Tree& inputs) const {
        std::vector<Tensor> y;
        for (const Tensor& x : inputs.leaves()) y.push_back(map_(x));
        return y;
    }

    tenon::Tree inputs_;
    std::function<std::vector<Tensor>(const tenon::Tree&)> layers_ =
        tenon::compile([this](const tenon::Tree& inputs) { return all(inputs); });
};

std::string spec_of(const DeviceLayer& l) {
    return "{\"structure\": \"" + l.structure + "\", \"rows\": " + std::to_string(l.rows) +
           ", \"block\": " + std::to_string(std::llround(std::sqrt(l.width))) +
           ", \"rank\": " + std::to_string(l.rank) + ", \"backward\": " + (l.backward ? "true" : "false") + "}";
}

const std::vector<cli::Column>& columns() {
    static const std::vector<cli::Column> all = {{"layer", 34, true}, {"library", 27, true}, {"median", 9},
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

DeviceCeilings device_ceilings() {
    constexpr std::int64_t kElements = std::int64_t{1} << 28, kSide = 8192;
    const Tensor x = halves(1, {kElements}), a = halves(2, {kSide, kSide}), b = halves(3, {kSide, kSide});
    tenon::eval({x, a, b});
    const double copy = fastest([&](int) { (x + 1).eval(); }),
                 product = fastest([&](int) { tenon::matmul(a, b).eval(); });
    return {4.0 * kElements / copy, 2.0 * kSide * kSide * kSide / product};
}

std::vector<DeviceLayer> device_layers(const std::string& shapes, const std::string& kinds) {
    std::vector<DeviceLayer> layers;
    const std::vector<std::string> wanted = cli::split(kinds, ',');
    const auto add = [&](const DeviceLayer& l) {
        const std::string name = l.name(), kind = name.substr(0, name.find(' '));
        if (kinds.empty() || std::find(wanted.begin(), wanted.end(), kind) != wanted.end()) layers.push_back(l);
    };
    for (const std::string& item : cli::split(shapes.empty() ? kDefault : shapes, ',')) {
        const Shape s = parse_shape(item);
        const auto root = std::llround(std::sqrt(static_cast<double>(s.n)));
        if (s.batch != 1 || s.n != s.k || root * root != s.n)
            throw tenon::ValueError("bench chain --device cuda: --shapes " + item +
                                    ": rows x width x width, the width a square, as in " + kDefault);
        for (const bool backward : {false, true}) {
            for (const std::int64_t rank : {1, 2, 4}) add({"btt", s.m, s.n, rank, backward});
            if (s.n != kOthersWidth) continue;
            add({"kronecker", s.m, s.n, 1, backward});
            add({"low-rank", s.m, s.n, kLowRank, backward});
        }
    }
    if (layers.empty())
        throw tenon::ValueError(
            "bench chain --device cuda: --routines " + kinds +
            ": of btt-r1, btt-r2, btt-r4 and, at width 4096, kronecker and low-rank-r256, each also "
            "with -backward");
    return layers;
}

void run_device_layers(const std::vector<DeviceLayer>& layers, const std::string& peers, const Settings& settings,
                       const DeviceLayerSink& sink) {
    if (tenon::cuda_device_count() == 0) throw tenon::ValueError("bench chain --device cuda: " + tenon::cuda_absent());
    const std::vector<std::string> names = device_peers(peers, kWays);
    const auto [bandwidth, peak] = device_ceilings();
    TorchScript pytorch(kDeviceLayersScript);
    for (const DeviceLayer& layer : layers) {
        DeviceWays<DeviceLayerRow> ways;
        ways.add({layer, "tenon", TENON_VERSION, "", bandwidth, peak},
                 [&](DeviceLayerRow&) { return std::make_unique<OfTenon>(layer); });
        if (!layer.backward)
            ways.add({layer, "tenon compiled", TENON_VERSION, "", bandwidth, peak},
                     [&](DeviceLayerRow&) { return std::make_unique<CompiledOfTenon>(layer); });
        for (const std::string& name : names) {
            if (layer.structure != "btt" && (name.starts_with("contiguous") || name.starts_with("in-place"))) continue;
            ways.add({layer, "pytorch " + name, "", "", bandwidth, peak},
                     [&](DeviceLayerRow& row) { return pytorch.way(spec_of(layer), name, row.version); });
        }
        sink(ways.measure(settings));
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
