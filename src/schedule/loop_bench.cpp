// Loops over memory: each function node by node, compiled, and as a loop written by hand for it, on rows in the second
// level of cache and far beyond the last. Bytes are those of the loop by hand: operands read and results written once.
//   tenon_bench --benchmark_filter=Loop --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true
#include <benchmark/benchmark.h>

#include <cmath>
#include <functional>
#include <vector>

#include "base/parallel.h"
#include "schedule/options.h"
#include "tape/kernels.h"
#include "tenon/functions.h"
#include "tenon/random.h"

namespace tenon::schedule {
namespace {

enum Way { kByNode, kCompiled, kByHand };

struct Sizes {
    std::int64_t rows, columns;
};

using Function = std::function<Tensor(const Tensor& x, const Tensor& residual, const Tensor& w, const Tensor& b)>;
using Row =
    std::function<void(const float* x, const float* r, const float* w, const float* b, float* y, std::int64_t n)>;

const tape::KernelTable& table() { return tape::kernels(); }

/// One of the tape's own kernels, so that both sides have the same exp and erf.
void kernel(tape::Opcode op, float* out, const float* x, std::int64_t n) {
    const void* in[] = {x};
    table().elementwise[static_cast<int>(op)][static_cast<int>(DType::float32)](out, in, n);
}

float reduced(tape::Reduction op, const float* x, std::int64_t n) {
    const auto& k = table().reduce[static_cast<int>(op)][static_cast<int>(DType::float32)];
    alignas(64) float lanes[tape::kLanes];
    k.fill(lanes, tape::kLanes);
    k.accumulate(lanes, 1, x, 1, n, 0);
    for (std::int64_t w = tape::kLanes / 2; w > 0; w /= 2) k.join(lanes, lanes + w, w);
    return lanes[0];
}

void softmax_row(const float* x, const float*, const float*, const float*, float* y, std::int64_t n) {
    const float most = reduced(tape::Reduction::max, x, n);
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] - most;
    kernel(tape::Opcode::exp, y, y, n);
    const float total = reduced(tape::Reduction::sum, y, n);
    for (std::int64_t i = 0; i < n; ++i) y[i] /= total;
}

void layer_norm_row(const float* x, const float*, const float* w, const float* b, float* y, std::int64_t n) {
    const float mean = reduced(tape::Reduction::sum, x, n) / static_cast<float>(n);
    std::vector<float> squares(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] - mean, squares[static_cast<std::size_t>(i)] = y[i] * y[i];
    const float s = 1 / std::sqrt(reduced(tape::Reduction::sum, squares.data(), n) / static_cast<float>(n) + 1e-5f);
    for (std::int64_t i = 0; i < n; ++i) y[i] = y[i] * s * w[i] + b[i];
}

void rms_norm_row(const float* x, const float*, const float* w, const float*, float* y, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * x[i];
    const float s = 1 / std::sqrt(reduced(tape::Reduction::sum, y, n) / static_cast<float>(n) + 1e-5f);
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * s * w[i];
}

void gelu_row(const float* x, const float* r, const float*, const float* b, float* y, std::int64_t n) {
    constexpr std::int64_t kPiece = 1024;
    float v[kPiece], e[kPiece];
    for (std::int64_t at = 0; at < n; at += kPiece) {
        const std::int64_t m = std::min(kPiece, n - at);
        for (std::int64_t i = 0; i < m; ++i) v[i] = x[at + i] + b[at + i], e[i] = v[i] * 0.70710678f;
        kernel(tape::Opcode::erf, e, e, m);
        for (std::int64_t i = 0; i < m; ++i) y[at + i] = 0.5f * v[i] * (1 + e[i]) + r[at + i];
    }
}

struct Case {
    const char* name;
    Function function;
    Row row;
    double streams;  // arrays of all rows that are read or written
    bool residual;
};

const Case kCases[] = {
    {"softmax", [](auto& x, auto&, auto&, auto&) { return softmax(x); }, softmax_row, 2, false},
    {"layer_norm", [](auto& x, auto&, auto& w, auto& b) { return layer_norm(x, w, b); }, layer_norm_row, 2, false},
    {"rms_norm", [](auto& x, auto&, auto& w, auto&) { return rms_norm(x, w); }, rms_norm_row, 2, false},
    {"gelu_bias_residual", [](auto& x, auto& r, auto&, auto& b) { return gelu(x + b) + r; }, gelu_row, 3, true},
};

void loop(benchmark::State& state, const Case& c, Sizes s, Way way) {
    const Shape shape{s.rows, s.columns};
    const Tensor x = random::normal(random::Key(1), shape).eval(), r = random::normal(random::Key(2), shape).eval();
    const Tensor w = random::normal(random::Key(3), {s.columns}).eval(),
                 b = random::normal(random::Key(4), {s.columns}).eval();
    std::vector<float> y(static_cast<std::size_t>(s.rows * s.columns));
    Options options;
    options.compile = way != kByNode;
    const WithOptions scope(options);
    const auto by_hand = [&] {
        const std::int64_t grain = std::max<std::int64_t>(1, 32768 / s.columns);
        parallel_for(s.rows, grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                c.row(x.data<float>().data() + i * s.columns, r.data<float>().data() + i * s.columns,
                      w.data<float>().data(), b.data<float>().data(), y.data() + i * s.columns, s.columns);
        });
        benchmark::DoNotOptimize(y.data());
    };
    const auto once = [&] {
        if (way == kByHand) return by_hand();
        const Tensor t = c.function(x, r, w, b);
        t.eval();
    };
    for (int i = 0; i < 3; ++i) once();
    for (auto _ : state) once();
    state.SetBytesProcessed(static_cast<std::int64_t>(c.streams * 4) * s.rows * s.columns * state.iterations());
}

/// 50,000 classes: the operand is read once, little is written.
void cross_entropy_loop(benchmark::State& state, Way way) {
    const std::int64_t rows = 256, classes = 50000;
    const Tensor x = random::normal(random::Key(1), {rows, classes}).eval();
    const Tensor labels = random::randint(random::Key(2), {rows}, 0, classes).eval();
    const auto at = labels.to<std::int64_t>();
    Options options;
    options.compile = way != kByNode;
    const WithOptions scope(options);
    std::vector<float> losses(static_cast<std::size_t>(rows));
    const auto by_hand = [&] {
        parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end) {
            std::vector<float> e(static_cast<std::size_t>(classes));
            for (std::int64_t i = begin; i < end; ++i) {
                const float* row = x.data<float>().data() + i * classes;
                const float most = reduced(tape::Reduction::max, row, classes);
                for (std::int64_t k = 0; k < classes; ++k) e[static_cast<std::size_t>(k)] = row[k] - most;
                kernel(tape::Opcode::exp, e.data(), e.data(), classes);
                losses[static_cast<std::size_t>(i)] = most +
                                                      std::log(reduced(tape::Reduction::sum, e.data(), classes)) -
                                                      row[at[static_cast<std::size_t>(i)]];
            }
        });
        benchmark::DoNotOptimize(losses.data());
    };
    const auto once = [&] {
        if (way == kByHand) return by_hand();
        const Tensor t = cross_entropy(x, labels);
        t.eval();
    };
    for (int i = 0; i < 3; ++i) once();
    for (auto _ : state) once();
    state.SetBytesProcessed(4 * rows * classes * state.iterations());
}

/// What the machine gives: two arrays read, one written.
void add_loop(benchmark::State& state) {
    const std::int64_t n = std::int64_t{1} << 24;
    const Tensor x = random::normal(random::Key(1), {n}).eval(), r = random::normal(random::Key(2), {n}).eval();
    for (auto _ : state) (x + r).eval();
    state.SetBytesProcessed(12 * n * state.iterations());
}

const bool registered = [] {
    constexpr const char* kWays[] = {"by_node", "compiled", "by_hand"};
    for (const Case& c : kCases)
        for (const Sizes s : {Sizes{128, 768}, Sizes{16384, 1024}})
            for (const Way way : {kByNode, kCompiled, kByHand}) {
                const std::string name = std::string("Loop/") + c.name + "/" + std::to_string(s.rows) + "x" +
                                         std::to_string(s.columns) + "/" + kWays[way];
                benchmark::RegisterBenchmark(name.c_str(), [&c, s, way](benchmark::State& state) {
                    loop(state, c, s, way);
                })->UseRealTime();
            }
    for (const Way way : {kByNode, kCompiled, kByHand})
        benchmark::RegisterBenchmark((std::string("Loop/cross_entropy/256x50000/") + kWays[way]).c_str(),
                                     [way](benchmark::State& state) { cross_entropy_loop(state, way); })
            ->UseRealTime();
    benchmark::RegisterBenchmark("Loop/add/16777216", add_loop)->UseRealTime();
    return true;
}();

}  // namespace
}  // namespace tenon::schedule
