#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "base/cpu.h"
#include "base/text.h"
#include "profile/peak_isa.h"
#include "tenon/error.h"
#include "tenon/machine.h"

namespace tenon {
namespace {

using profile::PeakLoops;

constexpr int kRuns = 8;

const PeakLoops& loops(Isa set) {
#if defined(__x86_64__)
    if (set == Isa::avx512) return profile::avx512::kPeakLoops;
    if (set == Isa::avx2) return profile::avx2::kPeakLoops;
#elif defined(__aarch64__)
    if (set == Isa::neon) return profile::neon::kPeakLoops;
#endif
    static_cast<void>(set);
    return profile::baseline::kPeakLoops;
}

Isa named(const std::string& instruction_set) {
    for (const Isa set : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon})
        if (name(set) == instruction_set && supported(set)) return set;
    throw ValueError(text("measure_peak: this CPU has no instruction set '", instruction_set, "'"));
}

void check_threads(const char* op, int threads) {
    if (threads < 1) throw ValueError(text(op, ": ", threads, " threads; at least 1 is needed"));
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The least of several times that `threads` threads need, from the start of the first to the end of the last, to call
/// work(thread) once each. Threads of their own: the pool may hand several pieces to one thread.
double best_time(int threads, const std::function<void(int)>& work) {
    std::barrier together(threads);
    double best = 0;
    const auto body = [&](int thread) {
        for (int run = 0; run < kRuns; ++run) {
            together.arrive_and_wait();
            const auto start = Clock::now();
            work(thread);
            together.arrive_and_wait();
            const double time = seconds_since(start);
            if (thread == 0 && (run == 0 || time < best)) best = time;
        }
    };
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
    body(0);
    others.clear();
    return best;
}

/// The loop's result must reach memory that the compiler cannot see through.
template <class T>
void keep(T value) {
    asm volatile("" : : "r,m"(value) : "memory");
}

/// Steps that take about five milliseconds on one thread.
template <class T>
std::int64_t calibrated_steps(T (*loop)(std::int64_t, T, T)) {
    for (std::int64_t steps = 1000;; steps *= 2) {
        const auto start = Clock::now();
        keep(loop(steps, T(0.5), T(1)));
        if (seconds_since(start) > 0.005) return steps;
    }
}

template <class T>
double peak(T (*loop)(std::int64_t, T, T), std::int64_t flops_per_step, int threads) {
    const std::int64_t steps = calibrated_steps(loop);
    const double time = best_time(threads, [&](int) { keep(loop(steps, T(0.5), T(1))); });
    return static_cast<double>(steps) * static_cast<double>(flops_per_step) * threads / time;
}

std::int64_t bandwidth_array_bytes() {
    constexpr std::int64_t kMiB = std::int64_t{1} << 20;
    const std::int64_t cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const std::int64_t memory = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    const std::int64_t wanted = std::clamp<std::int64_t>(2 * std::max<std::int64_t>(cache, 0), 64 * kMiB, 256 * kMiB);
    return std::max<std::int64_t>(std::min(wanted, memory / 16) / kMiB, 1) * kMiB;
}

}  // namespace

double measure_peak(const std::string& instruction_set, DType dtype, int threads) {
    check_threads("measure_peak", threads);
    const PeakLoops& loop = loops(named(instruction_set));
    if (dtype == DType::float32) return peak(loop.f32, loop.f32_flops_per_step, threads);
    if (dtype == DType::float64) return peak(loop.f64, loop.f64_flops_per_step, threads);
    throw TypeError(text("measure_peak: ", name(dtype), " is neither float32 nor float64"));
}

Bandwidth measure_bandwidth(int threads) {
    check_threads("measure_bandwidth", threads);
    Bandwidth result;
    result.array_bytes = bandwidth_array_bytes();
    const std::int64_t n = result.array_bytes / 8, grains = n / profile::kBandwidthGrain;
    const auto begin = [&](int t) { return grains * t / threads * profile::kBandwidthGrain; };
    std::unique_ptr<double[]> a, b, c;
    try {
        a.reset(new double[static_cast<std::size_t>(n)]), b.reset(new double[static_cast<std::size_t>(n)]);
        c.reset(new double[static_cast<std::size_t>(n)]);
    } catch (const std::bad_alloc&) {
        throw MemoryError(text("measure_bandwidth: three arrays of ", result.array_bytes, " bytes cannot be had"));
    }
    std::fill_n(a.get(), n, 0.0), std::fill_n(b.get(), n, 1.0), std::fill_n(c.get(), n, 2.0);
    const PeakLoops& loop = loops(isa());
    const double triad_time = best_time(threads, [&](int t) {
        const std::int64_t from = begin(t);
        loop.triad(a.get() + from, b.get() + from, c.get() + from, 0.5, begin(t + 1) - from);
    });
    const double read_time = best_time(threads, [&](int t) {
        const std::int64_t from = begin(t);
        keep(loop.read(b.get() + from, begin(t + 1) - from));
    });
    result.read = static_cast<double>(result.array_bytes) / read_time;
    result.triad = 3 * static_cast<double>(result.array_bytes) / triad_time;
    return result;
}

}  // namespace tenon
