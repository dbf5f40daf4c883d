// The pool's overhead, random bits, and what a tensor's memory costs.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "base/storage.h"

namespace tenon {
namespace {

// An empty parallel_for, back to back, and after a pause of range(0) microseconds in which the caller works alone.
void parallel_for_overhead(benchmark::State& state) {
    const auto pause = std::chrono::microseconds(state.range(0));
    for (auto _ : state) {
        const auto start = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - start < pause) continue;
        const auto begin = std::chrono::steady_clock::now();
        parallel_for(64, 1, [](std::int64_t b, std::int64_t e) { benchmark::DoNotOptimize(b + e); });
        state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
}
BENCHMARK(parallel_for_overhead)->Arg(0)->Arg(5)->Arg(100)->UseManualTime();

// 50 microseconds of work in all, shared by two threads.
void parallel_for_short_work(benchmark::State& state) {
    for (auto _ : state)
        parallel_for(50, 1, [](std::int64_t begin, std::int64_t end) {
            const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(end - begin);
            while (std::chrono::steady_clock::now() < until) continue;
        });
}
BENCHMARK(parallel_for_short_work)->UseRealTime();

void philox_words(benchmark::State& state) {
    const Isa before = isa(), wanted = static_cast<Isa>(state.range(0));
    if (!supported(wanted)) return state.SkipWithError("not on this CPU");
    force_isa(wanted);
    const ThreadLimit one(1);
    std::vector<std::uint32_t> out(1 << 16);
    for (auto _ : state) {
        philox_fill(1, 2, 0, out);
        benchmark::DoNotOptimize(out.data());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(out.size()) * 4);
    force_isa(before);
}
BENCHMARK(philox_words)->DenseRange(0, 3);

void storage_allocate(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(Storage::allocate(state.range(0)));
}
BENCHMARK(storage_allocate)->Arg(1 << 10)->Arg(32 << 20);

// The first touch of 32 MiB: from the cache, and with nothing cached.
void storage_first_touch(benchmark::State& state) {
    for (auto _ : state) {
        if (state.range(0) == 0) trim_memory();
        const auto s = Storage::allocate(32 << 20);
        std::memset(s->data(), 0, 32 << 20);
    }
}
BENCHMARK(storage_first_touch)->ArgName("cached")->Arg(0)->Arg(1);

}  // namespace
}  // namespace tenon
