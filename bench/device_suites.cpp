#include "bench/device_suites.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/device_ways.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"
#include "tenon/compile.h"
#include "tenon/device.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/policy.h"
#include "tenon/random.h"
#include "tenon/version.h"

namespace bench {
namespace {

using tenon::DType;
using tenon::Tensor;
using tenon::Tree;

constexpr const char *kWays[] = {"eager", "called", "compiled"},
                     *kAttentionWays[] = {"cudnn", "cudnn-deterministic", "flash", "flash-deterministic"};

DType dtype_of(const std::string& name) {
    return name == "f32" || name == "tf32" ? DType::float32
           : name == "f16"                 ? DType::float16
           : name == "s8"                  ? DType::int8
                                           : DType::bfloat16;
}

class OfTenon : public Runner {
  public:
    explicit OfTenon(const DeviceProblem& p)
        : step_(tenon::compile([run = p.run](const Tree& x) { return run(x.leaves()); })) {
        for (int i = 0; i < kDeviceInputs; ++i) {
            std::vector<Tensor> set;
            for (std::size_t k = 0; k < p.inputs.size(); ++k) {
                const std::uint64_t seed = 10 * static_cast<std::uint64_t>(i) + k;
                const bool labels = p.classes > 0 && k + 1 == p.inputs.size();
                const auto integers = [&](std::int64_t low, std::int64_t high) {
                    return tenon::random::randint(tenon::random::Key(seed), p.inputs[k], low, high);
                };
                set.push_back(labels            ? tenon::to_device(integers(0, p.classes), kGpu)
                              : p.dtype == "s8" ? tenon::to_device(astype(integers(-128, 128), DType::int8), kGpu)
                                                : device_numbers(seed, p.inputs[k], dtype_of(p.dtype)));
            }
            tenon::eval(set);
            std::vector<std::pair<std::string, Tree>> named;
            named.reserve(set.size());
            for (const Tensor& t : set) named.emplace_back("x" + std::to_string(named.size()), t);
            inputs_.emplace_back(std::move(named));
        }
        seconds(3 * kDeviceInputs);  // compiled
    }
    double seconds(std::int64_t calls) override {
        return device_seconds(calls, [&](int i) { step_(inputs_[static_cast<std::size_t>(i)]); });
    }

  protected:
    using Step = std::function<std::vector<Tensor>(const Tree&)>;
    Step step_;
    std::vector<Tree> inputs_;
};

/// The problem under a policy that lets gradients be summed in any order.
DeviceProblem in_any_order(DeviceProblem p) {
    p.run = [run = std::move(p.run)](const std::vector<Tensor>& inputs) {
        const tenon::WithPolicy policy({.sum_order = tenon::SumOrder::any});
        return run(inputs);
    };
    return p;
}

/// All inputs as one compiled function, as each way of PyTorch's is one CUDA graph over them.
class CompiledOfTenon : public OfTenon {
  public:
    explicit CompiledOfTenon(const DeviceProblem& p) : OfTenon(p), all_(Tree::list(inputs_)) {
        step_ = tenon::compile([run = p.run](const Tree& sets) {
            std::vector<Tensor> results;
            for (const auto& [name, set] : sets.children())
                for (const Tensor& t : run(set.leaves())) results.push_back(t);
            return results;
        });
        for (int i = 0; i < 3; ++i) step_(all_);
    }
    double seconds(std::int64_t calls) override {
        return device_seconds(calls / kDeviceInputs, [&](int) { step_(all_); });
    }

  private:
    Tree all_;
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

const std::vector<cli::Column>& columns() {
    static const std::vector<cli::Column> all = {{"problem", 40, true}, {"dtype", 5, true}, {"library", 27, true},
                                                 {"median", 9},         {"spread", 7},      {"GB/s", 8},
                                                 {"TFLOP/s", 8},        {"% of floor", 10}, {"of tenon", 8}};
    return all;
}

}  // namespace

double DeviceRow::floor() const { return std::max(problem.bytes / bandwidth, problem.operations / peak); }

void run_device_problems(const std::vector<DeviceProblem>& problems, const std::string& peers, const Settings& settings,
                         const DeviceSink& sink) {
    if (tenon::cuda_device_count() == 0) throw tenon::ValueError("bench --device cuda: " + tenon::cuda_absent());
    const bool attention = !problems.empty() && problems.front().suite == "attention";
    const std::vector<std::string> names = attention ? device_peers(peers, kAttentionWays) : device_peers(peers, kWays);
    const auto [bandwidth, peak] = device_ceilings();
    TorchScript pytorch(kDeviceSuitesScript);
    for (const DeviceProblem& problem : problems) {
        DeviceWays<DeviceRow> ways;
        ways.add({problem, "tenon", TENON_VERSION, "", bandwidth, peak},
                 [&](DeviceRow&) { return std::make_unique<OfTenon>(problem); });
        if (problem.suite == "product" || problem.suite == "batched")
            ways.add({problem, "tenon compiled", TENON_VERSION, "", bandwidth, peak},
                     [&](DeviceRow&) { return std::make_unique<CompiledOfTenon>(problem); });
        if (attention && problem.name.ends_with("gradients"))
            ways.add({problem, "tenon any-order", TENON_VERSION, "", bandwidth, peak},
                     [&](DeviceRow&) { return std::make_unique<OfTenon>(in_any_order(problem)); });
        for (const std::string& name : names)
            ways.add({problem, "pytorch " + name, "", "", bandwidth, peak},
                     [&](DeviceRow& row) { return pytorch.way(spec_of(problem), name, row.version); });
        sink(ways.measure(settings));
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
