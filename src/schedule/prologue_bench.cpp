// Products of pointwise work, compiled with that work before the product and as its prologue.
//   tenon_bench --benchmark_filter=Prologue --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true
#include <benchmark/benchmark.h>

#include <array>

#include "base/text.h"
#include "schedule/options.h"
#include "tenon/functions.h"
#include "tenon/random.h"

namespace tenon::schedule {
namespace {

struct Operands {
    Tensor x, bias, mask, w, narrow_x, narrow_w;
};

struct Case {
    const char* name;
    Tensor (*apply)(const Operands&);
};

const Case kCases[] = {
    {"relu_bias", [](const Operands& o) { return matmul(relu(o.x + o.bias), o.w); }},
    {"mask", [](const Operands& o) { return matmul(o.x * o.mask, o.w); }},
    {"tanh_mask", [](const Operands& o) { return matmul(tanh(o.x + o.bias) * o.mask, o.w); }},
    {"widened_x", [](const Operands& o) { return matmul(astype(o.narrow_x, DType::float32), o.w); }},
    {"widened_w", [](const Operands& o) { return matmul(o.x, astype(o.narrow_w, DType::float32)); }},
};

void product(benchmark::State& state, const Case& c, std::array<std::int64_t, 3> size, bool joined) {
    Options options;
    options.prologue = joined;
    const WithOptions scope(options);
    const auto [m, k, n] = size;
    const auto values = [](const Shape& s, unsigned seed) { return random::normal(random::Key(seed), s).eval(); };
    Operands o{values({m, k}, 1), values({k}, 2), values({m, k}, 3), values({k, n}, 4), {}, {}};
    o.narrow_x = astype(o.x, DType::bfloat16).eval(), o.narrow_w = astype(o.w, DType::bfloat16).eval();
    const auto once = [&] { c.apply(o).eval(); };
    for (int i = 0; i < 3; ++i) once();
    for (auto _ : state) once();
}

const bool registered = [] {
    constexpr std::array<std::int64_t, 3> kSizes[] = {
        {64, 256, 256},  {64, 1024, 1024}, {512, 256, 256},    {512, 1024, 256}, {512, 1024, 1024}, {512, 256, 2048},
        {4096, 256, 64}, {4096, 1024, 64}, {4096, 1024, 1024}, {16384, 64, 64},  {16384, 256, 16}};
    for (const Case& c : kCases)
        for (const auto& size : kSizes)
            for (const bool joined : {false, true})
                benchmark::RegisterBenchmark(
                    text("Prologue/", c.name, "/", size[0], "x", size[1], "x", size[2], joined ? "/joined" : "/apart")
                        .c_str(),
                    [&c, size, joined](benchmark::State& state) { product(state, c, size, joined); })
                    ->UseRealTime();
    return true;
}();

}  // namespace
}  // namespace tenon::schedule
