// A layer called again and again: its weight packed once, or for each call.
#include <benchmark/benchmark.h>

#include "product/weights.h"
#include "tenon/functions.h"
#include "tenon/random.h"
#include "tenon/threads.h"

namespace tenon {
namespace {

/// x (rows, n) by a weight (n, n), stored so or transposed, as a layer keeps it.
void layer(benchmark::State& state, bool transposed, bool packed) {
    set_num_threads(1);
    const std::int64_t rows = state.range(0), n = state.range(1);
    product::set_packed_weights_limit(packed ? std::int64_t{1} << 30 : 0);
    const random::Key key(1);
    const Tensor x = random::normal(key, {rows, n}).eval(), w = random::normal(key, {n, n}).eval();
    const auto call = [&] { matmul(x, transposed ? matrix_transpose(w) : w).eval(); };
    for (int i = 0; i < 3; ++i) call();
    for (auto _ : state) call();
    state.counters["GFLOP/s"] =
        benchmark::Counter(2e-9 * static_cast<double>(rows * n * n), benchmark::Counter::kIsIterationInvariantRate);
    product::set_packed_weights_limit(std::int64_t{1} << 30);
    set_num_threads(0);
}

void sizes(benchmark::internal::Benchmark* b) {
    for (const std::int64_t n : {512, 2048})
        for (const std::int64_t rows : {1, 4, 16, 64, 256}) b->Args({rows, n});
}
BENCHMARK_CAPTURE(layer, plain, false, false)->Apply(sizes);
BENCHMARK_CAPTURE(layer, packed, false, true)->Apply(sizes);
BENCHMARK_CAPTURE(layer, transposed_plain, true, false)->Apply(sizes);
BENCHMARK_CAPTURE(layer, transposed_packed, true, true)->Apply(sizes);

}  // namespace
}  // namespace tenon
