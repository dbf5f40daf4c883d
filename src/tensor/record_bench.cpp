// The recording tax: nanoseconds a node for recording, and for keying and looking up a graph of 10,000 nodes.
#include <benchmark/benchmark.h>

#include "schedule/plan.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

// A residual chain: two nodes a step, shapes and dtypes inferred.
Tensor chain(const Tensor& x, int nodes) {
    Tensor t = x;
    for (int i = 0; i < nodes / 2; ++i) t = multiply(add(t, x), x);
    return t;
}

void BM_Record(benchmark::State& state) {
    const int nodes = static_cast<int>(state.range(0));
    const Tensor x = Tensor::from(std::vector<float>(512 * 64), {512, 64});
    for (auto _ : state) benchmark::DoNotOptimize(chain(x, nodes));
    state.counters["ns_per_node"] = benchmark::Counter(
        static_cast<double>(nodes) * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_Record)->Arg(1000)->Arg(10000);

void BM_KeyAndLookUp(benchmark::State& state) {
    const Tensor x = Tensor::from(std::vector<float>(512 * 64), {512, 64});
    const Tensor t = chain(x, static_cast<int>(state.range(0)));
    schedule::PlanCache cache(std::size_t{64} << 20);
    Node* root = t.node();
    for (auto _ : state) benchmark::DoNotOptimize(cache.find(schedule::collect({&root, 1})));
}
BENCHMARK(BM_KeyAndLookUp)->Arg(10000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tenon
