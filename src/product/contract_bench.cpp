// contract in GFLOP/s, and in percent of a loop of fused multiply-adds on registers, timed before (one thread, times
// the number of threads). Names: what, m, n, k, threads. bfloat16 is held against the float32 loop.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>

#include "base/cpu.h"
#include "base/text.h"
#include "product/dense/kernels.h"
#include "product/testing.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;
using testing::Storage;

double seconds_of(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

#if defined(__x86_64__)
#define TENON_FMA(op, r, i) op " %%" r "14, %%" r "15, %%" r #i "\n\t"
#define TENON_FMA_LOOP(op, r)                                                                                        \
    asm volatile("1:\n\t" TENON_FMA(op, r, 0) TENON_FMA(op, r, 1) TENON_FMA(op, r, 2) TENON_FMA(op, r, 3) TENON_FMA( \
                     op, r, 4) TENON_FMA(op, r, 5) TENON_FMA(op, r, 6) TENON_FMA(op, r, 7) TENON_FMA(op, r, 8)       \
                     TENON_FMA(op, r, 9) TENON_FMA(op, r, 10) TENON_FMA(op, r, 11) "sub $1, %0\n\tjnz 1b"            \
                 : "+r"(steps)                                                                                       \
                 :                                                                                                   \
                 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",    \
                   "xmm11", "xmm14", "xmm15")

/// Flops a second of twelve independent chains in registers; the best of several runs.
double fma_peak(int bytes, DType t) {
    constexpr std::int64_t kSteps = 100'000;
    double best = 0;
    for (int run = 0; run < 20; ++run) {
        std::int64_t steps = kSteps;
        const double start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        if (bytes == 64 && t == DType::float32) TENON_FMA_LOOP("vfmadd231ps", "zmm");
        if (bytes == 64 && t == DType::float64) TENON_FMA_LOOP("vfmadd231pd", "zmm");
        if (bytes == 32 && t == DType::float32) TENON_FMA_LOOP("vfmadd231ps", "ymm");
        if (bytes == 32 && t == DType::float64) TENON_FMA_LOOP("vfmadd231pd", "ymm");
        const double time = seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
        const auto lanes = static_cast<double>(static_cast<std::size_t>(bytes) / size_of(t));
        best = std::max(best, 2 * 12 * static_cast<double>(kSteps) * lanes / time);
    }
    return best;
}

/// Flops a second of one thread in the instruction set in force; 0 where there is no loop for it.
double peak(DType t) {
    if (isa() != Isa::avx2 && isa() != Isa::avx512) return 0;
    static const double single = fma_peak(isa() == Isa::avx512 ? 64 : 32, DType::float32);
    static const double twice = fma_peak(isa() == Isa::avx512 ? 64 : 32, DType::float64);
    return t == DType::float64 ? twice : single;
}
#else
double peak(DType) { return 0; }
#endif

struct Problem {
    const char* equation;
    std::int64_t batch, m, n, k;
};

void run(benchmark::State& state, const Problem& p, DType t, int threads) {
    const Equation equation(p.equation);
    const std::vector<std::pair<char, std::int64_t>> extents{{'b', p.batch}, {'m', p.m}, {'n', p.n}, {'k', p.k}};
    Array a(t, equation.shape_a(extents)), b(t, equation.shape_b(extents)), out(t, equation.shape_out(extents));
    a.randomize(1), b.randomize(2);
    const View x = a.view(), y = b.view(), z = out.view();
    const double one_thread = peak(t), flops = 2.0 * static_cast<double>(p.batch * p.m * p.n * p.k);
    set_num_threads(threads);
    contract(x, y, z, equation.labels());
    const clockid_t clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    double seconds = 0, best = 1e9;
    for (auto _ : state) {
        const double start = seconds_of(clock);
        contract(x, y, z, equation.labels());
        const double time = seconds_of(clock) - start;
        state.SetIterationTime(time);
        seconds += time;
        best = std::min(best, time);
    }
    set_num_threads(0);
    const double rate = flops * static_cast<double>(state.iterations()) / seconds;
    state.counters["GFLOP/s"] = rate * 1e-9;
    if (one_thread > 0) {
        state.counters["%peak"] = 100 * rate / (one_thread * threads);
        state.counters["best%"] = 100 * flops / best / (one_thread * threads);
    }
}

void add(const char* what, const Problem& p, DType t, int threads) {
    const std::string title = text(what, "/", name(t), p.batch > 1 ? text("/", p.batch, "x") : "", "/", p.m, "x", p.n,
                                   "x", p.k, "/t", threads);
    benchmark::RegisterBenchmark(title.c_str(), [=](benchmark::State& s) { run(s, p, t, threads); })
        ->UseManualTime()
        ->MinTime(0.2);
}

const bool kRegistered = [] {
    for (const int threads : {1, 2}) {
        for (const DType t : {DType::float32, DType::float64, DType::bfloat16})
            for (const std::int64_t n : {64, 128, 256, 512, 1024, 2048})
                add("square", {"mk,kn->mn", 1, n, n, n}, t, threads);
        for (const DType t : {DType::float32, DType::bfloat16}) {
            for (const std::int64_t rows : {1, 4, 16, 128, 512}) {
                add("forward", {"mk,nk->mn", 1, rows, 1024, 1024}, t, threads);
                add("forward", {"mk,nk->mn", 1, rows, 4096, 768}, t, threads);
            }
            add("forward", {"mk,nk->mn", 1, 128, 10, 784}, t, threads);
            for (const std::int64_t rows : {128, 512}) {
                add("backward x", {"mk,kn->mn", 1, rows, 1024, 1024}, t, threads);
                add("backward w", {"km,kn->mn", 1, 1024, 1024, rows}, t, threads);
                add("backward w", {"km,kn->mn", 1, 784, 256, rows}, t, threads);
                for (const std::int64_t block : {32, 64}) {
                    add("two-factor 1", {"mbk,bnk->mnb", block, rows, block, block}, t, threads);
                    add("two-factor 2", {"mbk,bnk->mbn", block, rows, block, block}, t, threads);
                    add("two-factor 3", {"mkb,bnk->mbn", block, rows, block, block}, t, threads);
                    add("two-factor dw", {"kbm,kbn->bmn", block, block, block, rows}, t, threads);
                }
            }
            add("batch", {"bmk,bkn->bmn", 64, 32, 32, 32}, t, threads);
            add("batch", {"bmk,bkn->bmn", 512, 32, 32, 32}, t, threads);
            add("long k", {"km,kn->mn", 1, 64, 64, 60000}, t, threads);
        }
        for (const DType t : {DType::int8, DType::int64}) add("square", {"mk,kn->mn", 1, 512, 512, 512}, t, threads);
    }
    return true;
}();

}  // namespace
}  // namespace tenon::product
