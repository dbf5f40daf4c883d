// Products that share an operand in one region of threads, beside one after the other: the two are timed in turn, and
// the counter says how much of the time apart they take together.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "product/testing.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;

struct Shapes {
    const char* equation;
    std::int64_t m, n, k;
    int parts;
    bool gated;  // the last one's epilogue multiplies by what the first gives
};

void run(benchmark::State& state, const Shapes& s) {
    const Equation equation(s.equation);
    const std::vector<std::pair<char, std::int64_t>> extents{{'m', s.m}, {'n', s.n}, {'k', s.k}};
    Array a(DType::float32, equation.shape_a(extents));
    a.randomize(1);
    std::vector<Array> b, out;
    for (int i = 0; i < s.parts; ++i) {
        b.emplace_back(DType::float32, equation.shape_b(extents)).randomize(static_cast<unsigned>(i + 2));
        out.emplace_back(DType::float32, equation.shape_out(extents));
    }
    const tape::Tape product{
        {DType::float32, DType::float32}, {{tape::Opcode::multiply, DType::float32, DType::float32, {0, 1, 0}}}, {2}};
    const View first = out[0].view();
    const Epilogue epilogue{product, {&first, 1}};
    std::vector<GroupedProduct> parts;
    for (int i = 0; i < s.parts; ++i)
        parts.push_back({a.view(), b[static_cast<std::size_t>(i)].view(), out[static_cast<std::size_t>(i)].view(),
                         equation.labels()});
    if (s.gated) parts.back().epilogue = &epilogue, parts.back().reads_earlier = true;
    const auto apart = [&] {
        for (const GroupedProduct& p : parts) contract(p.a, p.b, p.out, p.labels, {}, p.epilogue);
    };
    const auto grouped = [&] { contract_grouped(parts); };
    const auto seconds = [](auto&& f) {
        using Clock = std::chrono::steady_clock;
        const auto start = Clock::now();
        std::int64_t calls = 0;
        do f(), ++calls;
        while (Clock::now() - start < std::chrono::milliseconds(4));
        return std::chrono::duration<double>(Clock::now() - start).count() / static_cast<double>(calls);
    };
    std::vector<double> x, y;
    set_num_threads(static_cast<int>(state.range(0)));
    for (auto _ : state) {
        x.push_back(seconds(apart));
        y.push_back(seconds(grouped));
    }
    set_num_threads(0);
    const auto median = [](std::vector<double>& v) {
        std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
        return v[v.size() / 2];
    };
    state.counters["apart_us"] = 1e6 * median(x);
    state.counters["grouped/apart"] = median(y) / median(x);
    const char* why = grouped_declines(parts, true);
    state.SetLabel(why ? why : "pays");
}

void shapes(benchmark::internal::Benchmark* b) { b->Arg(1)->Arg(2)->Iterations(61)->UseRealTime(); }
#define TENON_GROUPED(name, ...) BENCHMARK_CAPTURE(run, name, Shapes{__VA_ARGS__})->Apply(shapes)

TENON_GROUPED(qkv_1x1024, "mk,nk->mn", 1, 1024, 1024, 3, false);
TENON_GROUPED(qkv_16x1024, "mk,nk->mn", 16, 1024, 1024, 3, false);
TENON_GROUPED(qkv_64x384, "mk,nk->mn", 64, 384, 384, 3, false);
TENON_GROUPED(qkv_256x384, "mk,nk->mn", 256, 384, 384, 3, false);
TENON_GROUPED(qkv_2048x384, "mk,nk->mn", 2048, 384, 384, 3, false);
TENON_GROUPED(gate_up_1x4096x1024, "mk,nk->mn", 1, 4096, 1024, 2, true);
TENON_GROUPED(gate_up_16x4096x1024, "mk,nk->mn", 16, 4096, 1024, 2, true);
TENON_GROUPED(gate_up_256x1536x384, "mk,nk->mn", 256, 1536, 384, 2, true);
TENON_GROUPED(gate_up_2048x1536x384, "mk,nk->mn", 2048, 1536, 384, 2, true);
TENON_GROUPED(gate_up_8192x1024x64, "mk,nk->mn", 8192, 1024, 64, 2, true);
TENON_GROUPED(gradients_64x384, "kn,km->nm", 384, 384, 64, 3, false);
TENON_GROUPED(gradients_2048x384, "kn,km->nm", 384, 384, 2048, 3, false);
TENON_GROUPED(gradients_64x1024, "kn,km->nm", 1024, 1024, 64, 3, false);

}  // namespace
}  // namespace tenon::product
