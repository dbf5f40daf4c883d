#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "base/cpu.h"
#include "base/storage.h"
#include "base/text.h"
#include "profile/dot_loops.h"
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

Isa named(const char* op, const std::string& instruction_set) {
    for (const Isa set : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon})
        if (name(set) == instruction_set && supported(set)) return set;
    throw ValueError(text(op, ": this CPU has no instruction set '", instruction_set, "'"));
}

void check_threads(const char* op, int threads) {
    if (threads < 1) throw ValueError(text(op, ": ", threads, " threads; at least 1 is needed"));
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The shortest of several measurements of the time that `threads` threads need, from the start of the first to the end
/// of the last, to call work(thread) once each. The threads are not the pool's, which may give one thread several
/// pieces.
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

/// The value counts as used, so that the compiler cannot remove the loop that computed it.
template <class T>
void keep(T value) {
    asm volatile("" : : "r,m"(value) : "memory");
}

/// The number of steps that takes about five milliseconds on one thread.
std::int64_t calibrated_steps(const std::function<void(std::int64_t)>& loop) {
    for (std::int64_t steps = 1;; steps *= 2) {
        const auto start = Clock::now();
        loop(steps);
        if (seconds_since(start) > 0.005) return steps;
    }
}

template <class T>
auto chain_of(T (*loop)(std::int64_t, T, T)) {
    return [loop](std::int64_t steps) { keep(loop(steps, T(0.5), T(1))); };  // any values that do not give NaN
}

double peak(const std::function<void(std::int64_t)>& loop, std::int64_t operations_per_step, int threads) {
    const std::int64_t steps = calibrated_steps(loop);
    const double time = best_time(threads, [&](int) { loop(steps); });
    return static_cast<double>(steps) * static_cast<double>(operations_per_step) * threads / time;
}

bool has(const char* feature) {
    const std::vector<std::string> features = machine().features;
    return std::find(features.begin(), features.end(), feature) != features.end();
}

std::int64_t bandwidth_array_bytes() {
    constexpr std::int64_t kMiB = std::int64_t{1} << 20;
    const std::int64_t cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const std::int64_t memory = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    const std::int64_t wanted = std::clamp<std::int64_t>(2 * std::max<std::int64_t>(cache, 0), 64 * kMiB, 256 * kMiB);
    return std::max<std::int64_t>(std::min(wanted, memory / 16) / kMiB, 1) * kMiB;
}

}  // namespace

double measure_peak(DType dtype, int threads, const std::string& instruction_set) {
    check_threads("measure_peak", threads);
    const Isa set = named("measure_peak", instruction_set);
    const PeakLoops& loop = loops(set);
    const bool dot = set == Isa::avx512;
    switch (dtype) {
        case DType::float32:
            return peak(chain_of(loop.f32), loop.f32_flops_per_step, threads);
        case DType::float64:
            return peak(chain_of(loop.f64), loop.f64_flops_per_step, threads);
        case DType::bfloat16:
            if (dot && has("avx512_bf16"))
                return peak(profile::kBf16Loop.run, profile::kBf16Loop.operations_per_step, threads);
            break;
        case DType::int8:
            if (dot && has("avx512_vnni"))
                return peak(profile::kU8s8Loop.run, profile::kU8s8Loop.operations_per_step, threads);
            if (loop.bytes) return peak(chain_of(loop.bytes), loop.bytes_operations_per_step, threads);
            break;
        default:
            break;
    }
    throw TypeError(text("measure_peak: ", instruction_set, " of this CPU has no multiply-add of ", name(dtype)));
}

double measure_read(std::int64_t bytes, int threads, const std::string& instruction_set) {
    check_threads("measure_read", threads);
    if (bytes < 1) throw ValueError(text("measure_read: an array of ", bytes, " bytes; it has at least one"));
    const PeakLoops& loop = loops(named("measure_read", instruction_set));
    constexpr std::int64_t kGrain = profile::kBandwidthGrain;
    const std::int64_t n = std::max<std::int64_t>(bytes / 8 / kGrain, 1) * kGrain;
    std::vector<std::shared_ptr<Storage>> arrays;
    for (int t = 0; t < threads; ++t) {
        arrays.push_back(Storage::allocate(n * 8));
        std::fill_n(static_cast<double*>(arrays.back()->data()), n, 1.0);
    }
    const auto repeat = [&](int thread, std::int64_t times) {
        const auto* array = static_cast<const double*>(arrays[static_cast<std::size_t>(thread)]->data());
        for (std::int64_t i = 0; i < times; ++i) keep(loop.read(array, n));
    };
    const std::int64_t times = calibrated_steps([&](std::int64_t count) { repeat(0, count); });
    const double time = best_time(threads, [&](int thread) { repeat(thread, times); });
    return static_cast<double>(times * n * 8) * threads / time;
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
