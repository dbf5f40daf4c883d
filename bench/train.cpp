#include "bench/train.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <tuple>
#include <utility>

#include "bench/child.h"
#include "bench/device_ways.h"
#include "bench/rows.h"
#include "bench/train_models.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"
#include "tenon/compile.h"
#include "tenon/device.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/io.h"
#include "tenon/optim.h"
#include "tenon/profile.h"
#include "tenon/transform.h"
#include "tenon/version.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;
using tenon::Tree;

constexpr double kSampleSeconds = 0.05;
constexpr int kWarmSteps = 3, kMinSamples = 7, kMaxSamples = 51;
constexpr double kLossTolerance = 0.01;
constexpr const char* kDefault = "residual-mlp:512x256,residual-mlp-btt:512x256,transformer:6x384x256x8";
constexpr const char* kGpuDefault = "residual-mlp:4096x4096,residual-mlp-btt-r1:4096x4096,residual-mlp-btt:4096x4096";
constexpr const char* kCompiled = "tenon compiled";
constexpr const char* kGpuWays[] = {"dense", "einsum", "natural", "strided"};
const tenon::Device kGpu = tenon::Device::cuda(0);

/// A line of /proc/self/status, in bytes.
double resident(const char* key) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with(key)) return 1024 * std::strtod(line.c_str() + std::string(key).size(), nullptr);
    return std::nan("");
}
/// Resets the peak of the resident set.
void forget_peak() { std::ofstream("/proc/self/clear_refs") << '5'; }

/// A library's training: steps, one after the other.
class Trainer {
  public:
    virtual ~Trainer() = default;
    virtual double seconds(std::int64_t steps) = 0;

    std::string library, version;
    double loss = 0, bytes = 0;  // after the first steps
};

class OfTenon : public Trainer {
  public:
    /// Takes the weights. The memory is the peak less `before`, which was taken before they were made; it is not known
    /// for a compiled step, because the recorded one is in memory too.
    OfTenon(TrainModel& model, bool on_gpu, double before, bool compiled)
        : model_(model),
          on_gpu_(on_gpu),
          compiled_(compiled),
          loss_and_gradients_(tenon::value_and_grad(model.loss)),
          optimizer_({.learning_rate = 1e-3}),
          params_(std::exchange(model.params, {})),
          state_(optimizer_.init(params_)) {
        library = "tenon", version = TENON_VERSION;
        for (int i = 0; i < kWarmSteps; ++i) step();
        loss = loss_.item<float>();
        bytes = compiled_ ? std::nan("")
                          : (on_gpu_ ? static_cast<double>(tenon::device_memory_statistics(kGpu).peak_in_use)
                                     : resident("VmHWM:")) -
                                before;
    }
    double seconds(std::int64_t steps) override {
        const auto start = Clock::now();
        for (std::int64_t i = 0; i < steps; ++i) step();
        host_ = std::chrono::duration<double>(Clock::now() - start).count();
        loss_.item<float>();
        return std::chrono::duration<double>(Clock::now() - start).count();
    }
    /// The part of steps that no kernel takes, on a GPU that in which the host is busy.
    double outside(std::int64_t steps) {
        if (on_gpu_) {
            const double all = seconds(steps);
            return host_ / all;
        }
        tenon::profile::start();
        const double all = seconds(steps);
        tenon::profile::stop();
        double inside = 0;
        for (const tenon::profile::Entry& e : tenon::profile::entries()) inside += e.seconds;
        return 1 - inside / all;
    }

  private:
    /// Parameters, state, loss.
    Tree recorded_step(const Tree& t) const {
        const Tree &params = t.children()[0].second, &state = t.children()[1].second;
        auto [value, grads] = loss_and_gradients_(params, t["2"].tensor(), t["3"].tensor());
        auto [next, after] = optimizer_.update(params, std::move(grads), state);
        return Tree::list(std::vector<Tree>{std::move(next), std::move(after), value});
    }
    void step() {
        if (compiled_) {
            std::vector<Tree> all;
            for (Tree* given_up : {&params_, &state_}) all.push_back(std::exchange(*given_up, {}));
            for (const tenon::Tensor& kept : {model_.x, model_.y}) all.push_back(kept);
            const auto record = [this](const Tree& t) { return recorded_step(t); };
            std::vector<Tree::Child> next = calls_.call(record, Tree::list(std::move(all))).children();
            params_ = std::move(next[0].second), state_ = std::move(next[1].second), loss_ = next[2].second.tensor();
            return;
        }
        auto [value, grads] = loss_and_gradients_(params_, model_.x, model_.y);
        std::tie(params_, state_) = optimizer_.update(std::move(params_), std::move(grads), std::move(state_), {value});
        loss_ = value;
    }

    const TrainModel& model_;
    bool on_gpu_, compiled_;
    decltype(tenon::value_and_grad(TrainModel().loss)) loss_and_gradients_;
    tenon::CompiledCalls calls_;
    double host_ = 0;  // seconds of the last steps, until all were enqueued
    tenon::optim::Adam optimizer_;
    Tree params_, state_;
    tenon::Tensor loss_;
};

/// Throws std::runtime_error saying why there is no such library.
class OfPython : public Trainer {
  public:
    OfPython(const std::string& name, const std::string& spec, const std::string& weights, int threads)
        : child_({python(), "-c", kTrainScript, name, spec, weights, std::to_string(threads)}) {
        library = name;
        const std::vector<std::string> fields = cli::split(child_.receive(), '\t');
        if (fields.size() == 2 && fields[0] == "error") throw std::runtime_error(fields[1]);
        if (fields.size() != 4) throw std::runtime_error(python() + ": ended before the first step");
        version = fields[1];
        loss = std::strtod(fields[2].c_str(), nullptr), bytes = std::strtod(fields[3].c_str(), nullptr);
    }
    double seconds(std::int64_t steps) override {
        return std::strtod(ask(child_, std::to_string(steps), "steps were timed").c_str(), nullptr);
    }

  private:
    Child child_;
};

struct Way {
    std::unique_ptr<Trainer> trainer;
    TrainRow row;
    std::vector<double> samples;
};

/// In turn, a sample of each.
void measure(std::vector<Way>& ways, const Settings& settings) {
    double round = 0;
    for (Way& way : ways) {
        if (!way.trainer) continue;
        const double one = way.trainer->seconds(1);
        way.row.steps = std::max<std::int64_t>(1, std::llround(kSampleSeconds / one));
        round += one * static_cast<double>(way.row.steps);
    }
    const double possible = settings.seconds * static_cast<double>(ways.size()) / round;
    const int fewest = possible < settings.samples ? kMinSamples : settings.samples;
    const int samples = std::max(fewest, static_cast<int>(std::clamp(possible, 1.0, double{kMaxSamples})));
    for (int i = 0; i < samples; ++i)
        for (Way& way : ways)
            if (way.trainer)
                way.samples.push_back(way.trainer->seconds(way.row.steps) / static_cast<double>(way.row.steps));
    for (Way& way : ways) {
        if (!way.trainer) continue;
        std::sort(way.samples.begin(), way.samples.end());
        way.row.samples = samples;
        way.row.seconds = quantile(way.samples, 0.5);
        way.row.lower_quartile = quantile(way.samples, 0.25), way.row.upper_quartile = quantile(way.samples, 0.75);
    }
}

std::string text_of(const TrainProblem& p) {
    std::string s = p.name + ' ';
    if (p.length) s += std::to_string(p.depth) + 'x';
    s += std::to_string(p.width) + 'x';
    if (p.length) s += std::to_string(p.length) + 'x';
    return s + std::to_string(p.batch);
}

/// A file that its object removes.
struct Weights {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("tenon-train-" + std::to_string(getpid()) + ".safetensors");
    ~Weights() {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
};

/// The weights that were saved beside a batch, in the order of `like`.
Tree reloaded(const std::string& path, const Tree& like, bool on_gpu) {
    const tenon::Checkpoint checkpoint = tenon::load(path);
    Tree saved;
    for (const auto& [name, child] : checkpoint.tensors.children())
        if (name != "batch") saved.set(name, child);
    const Tree params = tenon::restore(like, saved);
    return on_gpu ? params.map([](const tenon::Tensor& t) { return tenon::to_device(t, kGpu).eval(); }) : params;
}

void run_problem(const TrainProblem& problem, const std::vector<std::string>& peers, int threads,
                 const Settings& settings, double peak, const TrainSink& sink) {
    // Taken before the first problem: memory that an earlier problem frees does not return to the system.
    tenon::trim_device_memory(tenon::Device::cpu());
    static const double resident_before = resident("VmRSS:");
    forget_peak();
    if (problem.on_gpu) tenon::trim_device_memory(kGpu), tenon::reset_peak_device_memory(kGpu);
    const double before =
        problem.on_gpu ? static_cast<double>(tenon::device_memory_statistics(kGpu).in_use) : resident_before;
    TrainModel model = train_model(problem);
    tenon::eval(model.params);
    const Weights weights;
    Tree saved = model.params;
    saved.set("batch", Tree({{"x", model.x}, {"y", model.y}}));
    tenon::save(weights.path.string(), {saved, {}});
    saved = {};
    const Tree like = model.params.map([](const tenon::Tensor& t) { return tenon::zeros(t.shape(), t.dtype()); });
    std::vector<Way> ways;
    const auto add = [&](const std::string& name, auto&& make) {
        Way way;
        way.row.library = name, way.row.problem = text_of(problem), way.row.threads = threads;
        way.row.flops = model.flops, way.row.peak = peak, way.row.on_gpu = problem.on_gpu;
        try {
            way.trainer = make();
            way.row.version = way.trainer->version, way.row.bytes = way.trainer->bytes;
            const bool compared = !ways.empty() && ways[0].trainer;
            const double other = compared ? ways[0].trainer->loss : way.trainer->loss;
            if (!(std::fabs(way.trainer->loss - other) <= kLossTolerance * std::fabs(other))) {
                way.row.error = "wrong loss: " + cli::shortest(way.trainer->loss) + ", not " + cli::shortest(other);
                way.trainer = nullptr;
            }
        } catch (const std::runtime_error& e) {
            way.row.error = e.what();
        }
        ways.push_back(std::move(way));
    };
    add("tenon", [&] { return std::make_unique<OfTenon>(model, problem.on_gpu, before, false); });
    add(kCompiled, [&] {
        model.params = reloaded(weights.path.string(), like, problem.on_gpu);
        return std::make_unique<OfTenon>(model, problem.on_gpu, before, true);
    });
    for (const std::string& name : peers)
        if (!problem.on_gpu)
            add(name, [&] { return std::make_unique<OfPython>(name, model.spec, weights.path.string(), threads); });
        else if ((name == "dense") != problem.is_btt())
            add("pytorch " + name, [&] {
                const std::string spec = model.spec.substr(0, model.spec.size() - 1) + ", \"form\": \"" + name + "\"}";
                return std::make_unique<OfPython>("pytorch-cuda", spec, weights.path.string(), threads);
            });
    measure(ways, settings);
    for (Way& way : std::span(ways).first(2))
        if (auto* ours = static_cast<OfTenon*>(way.trainer.get()))
            way.row.outside = ours->outside(std::max<std::int64_t>(3, way.row.steps));
    std::vector<TrainRow> rows;
    for (const Way& way : ways) rows.push_back(way.row);
    sink(rows);
}

bool is_ours(const TrainRow& row) { return row.library == "tenon" || row.library == kCompiled; }

std::vector<cli::Column> columns(bool on_gpu) {
    return {{"problem", 29, true},
            {"threads", 7},
            {"library", std::size_t{on_gpu ? 16u : 14u}, true},
            {"median", 9},
            {"spread", 7},
            {"GFLOP/s", 8},
            {"% of peak", 9},
            {"of tenon", 8},
            {"memory", 11},
            {on_gpu ? "host busy" : "outside kernels", std::size_t{on_gpu ? 9u : 15u}}};
}

std::vector<std::string> peers_of(const std::string& peers, bool on_gpu) {
    if (peers == "none") return {};
    if (peers == "all")
        return on_gpu ? std::vector<std::string>(std::begin(kGpuWays), std::end(kGpuWays))
                      : std::vector<std::string>{"pytorch", "jax"};
    if (!on_gpu) throw tenon::ValueError("bench train: --peers " + peers + ": all, or none");
    const std::vector<std::string> names = cli::split(peers, ',');
    for (const std::string& name : names)
        if (std::find(std::begin(kGpuWays), std::end(kGpuWays), name) == std::end(kGpuWays))
            throw tenon::ValueError("bench train --device cuda: --peers " + name + ": all, none, or of " +
                                    cli::join({std::begin(kGpuWays), std::end(kGpuWays)}, ", "));
    return names;
}

std::int64_t number(std::string_view s, const std::string& all) {
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
    if (error != std::errc() || end != s.data() + s.size() || n < 1 || n > (1 << 20))
        throw tenon::ValueError("bench train: --shapes " + all + ": not as in " + kDefault);
    return n;
}

}  // namespace

std::vector<TrainProblem> train_problems(const std::string& shapes, bool on_gpu) {
    const std::string usual = on_gpu ? kGpuDefault : kDefault, all = shapes.empty() ? usual : shapes;
    std::vector<TrainProblem> problems;
    for (const std::string& item : cli::split(all, ',')) {
        const std::vector<std::string> parts = cli::split(item, ':');
        const std::vector<std::string> sizes = cli::split(parts.size() == 2 ? parts[1] : "", 'x');
        TrainProblem p;
        p.name = parts[0], p.on_gpu = on_gpu;
        const bool transformer = p.name == "transformer";
        const bool known = p.name == "residual-mlp" || p.name == "residual-mlp-btt" || p.name == "residual-mlp-btt-r1";
        if ((!known && (!transformer || on_gpu)) || sizes.size() != (transformer ? 4u : 2u))
            throw tenon::ValueError("bench train: --shapes " + item + ": not as in " + usual);
        std::vector<std::int64_t> n;
        for (const std::string& size : sizes) n.push_back(number(size, item));
        p.batch = n.back();
        p.width = transformer ? n[1] : n[0];
        if (transformer) p.depth = n[0], p.length = n[2];
        if (transformer && p.width % 64 != 0)
            throw tenon::ValueError("bench train: --shapes " + item + ": a width of whole heads, of 64 each");
        problems.push_back(p);
    }
    return problems;
}

void run_train(const std::vector<TrainProblem>& problems, const std::string& peers, int threads,
               const Settings& settings, const TrainSink& sink) {
    const bool on_gpu = problems.front().on_gpu;
    if (on_gpu && tenon::cuda_device_count() == 0)
        throw tenon::ValueError("bench train --device cuda: " + tenon::cuda_absent());
    const std::vector<std::string> names = peers_of(peers, on_gpu);
    const double peak = on_gpu ? device_ceilings().peak : tenon::measure_ceilings(threads).float32;
    for (const TrainProblem& problem : problems) run_problem(problem, names, threads, settings, peak, sink);
}

std::string train_header(bool on_gpu) { return cli::header(columns(on_gpu)); }

std::string train_lines(const std::vector<TrainRow>& rows) {
    std::string out;
    const std::vector<cli::Column> all = columns(!rows.empty() && rows[0].on_gpu);
    for (const TrainRow& row : rows) {
        const std::vector<std::string> head{row.problem, std::to_string(row.threads), row.library};
        if (!row.error.empty()) {
            out += cli::row({all.begin(), all.begin() + 3}, head) + "  NOT TIMED: " + row.error + '\n';
            continue;
        }
        std::vector<std::string> cells = head;
        const bool ours = is_ours(row);
        cells.insert(cells.end(), {time_text(row.seconds), cli::fixed(100 * row.spread(), 1) + " %",
                                   cli::fixed(row.flops / row.seconds * 1e-9, 1),
                                   cli::fixed(100 * row.flops / row.seconds / row.peak, 1),
                                   cli::fixed(row.seconds / rows[0].seconds, 2),
                                   std::isnan(row.bytes) ? "" : cli::fixed(row.bytes / (1 << 20), 1) + " MiB",
                                   ours ? cli::fixed(100 * row.outside, 1) + " %" : ""});
        out += cli::row(all, cells) + '\n';
    }
    return out;
}

std::string json_object(const TrainRow& row) {
    const bool timed = row.error.empty();
    const auto number_or_null = [&](double x) { return timed ? x : std::nan(""); };
    cli::JsonObject o;
    o.add("suite", kTrainSuite).add("problem", row.problem).add("dtype", row.on_gpu ? "bf16" : "f32");
    o.add("threads", row.threads);
    if (row.on_gpu) o.add("device", "cuda");
    o.add("library", row.library).add("version", row.version);
    o.add("seconds_median", number_or_null(row.seconds)).add("gflops", number_or_null(row.flops / row.seconds * 1e-9));
    o.add("percent_of_peak", number_or_null(100 * row.flops / row.seconds / row.peak));
    o.add("percent_of_roofline", std::nan("")).add("samples", row.samples).add("calls_per_sample", row.steps);
    o.add("spread_percent", number_or_null(100 * row.spread())).add("memory_bytes", number_or_null(row.bytes));
    o.add(row.on_gpu ? "percent_host_busy" : "percent_outside_kernels",
          is_ours(row) ? number_or_null(100 * row.outside) : std::nan(""));
    if (!timed) o.add("error", row.error);
    return o.text();
}

}  // namespace bench
