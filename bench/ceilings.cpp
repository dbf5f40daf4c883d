#include "bench/ceilings.h"

#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <fstream>
#include <functional>
#include <limits>
#include <thread>

#include "bench/loops.h"
#include "bench/operands.h"
#include "tenon/machine.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The least of several times in which so many threads call work(thread) once each.
double best_time(int threads, const std::function<void(int)>& work) {
    constexpr int kRuns = 10;
    std::barrier together(threads);
    double best = std::numeric_limits<double>::infinity();
    const auto body = [&](int thread) {
        for (int run = 0; run < kRuns; ++run) {
            together.arrive_and_wait();
            const auto start = Clock::now();
            work(thread);
            together.arrive_and_wait();
            if (thread == 0) best = std::min(best, seconds_since(start));
        }
    };
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
    body(0);
    return best;
}

/// How often `once` is called in about five milliseconds.
std::int64_t calibrated(const std::function<void(std::int64_t)>& repeat) {
    for (std::int64_t times = 1;; times *= 2) {
        const auto start = Clock::now();
        repeat(times);
        if (seconds_since(start) > 0.005) return times;
    }
}

double dot_peak(const DotLoop& loop, int threads) {
    const std::int64_t steps = calibrated(loop.run);
    const double time = best_time(threads, [&](int) { loop.run(steps); });
    return static_cast<double>(steps * loop.operations_per_step * threads) / time;
}

bool has(const tenon::Machine& machine, const char* feature) {
    return std::find(machine.features.begin(), machine.features.end(), feature) != machine.features.end();
}

/// Each thread reads memory of its own, again and again.
double read_rate(ReadLoop* read, double bytes, int threads) {
    constexpr std::int64_t kGrain = 256;
    const std::int64_t n = std::max<std::int64_t>(static_cast<std::int64_t>(bytes) / 8 / kGrain, 1) * kGrain;
    std::vector<Buffer> arrays;
    for (int t = 0; t < threads; ++t) {
        arrays.emplace_back(n * 8);
        std::fill_n(static_cast<double*>(arrays.back().data()), n, 1.0);
    }
    const auto repeat = [&](int thread, std::int64_t times) {
        for (std::int64_t i = 0; i < times; ++i)
            read(static_cast<const double*>(arrays[static_cast<std::size_t>(thread)].data()), n);
    };
    const std::int64_t times = calibrated([&](std::int64_t count) { repeat(0, count); });
    const double time = best_time(threads, [&](int thread) { repeat(thread, times); });
    return static_cast<double>(times * n * 8) * threads / time;
}

double cache_bytes(int name, double otherwise) {
    const long bytes = sysconf(name);
    return bytes > 0 ? static_cast<double>(bytes) : otherwise;
}

double l1_bytes() { return cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10); }
double l2_bytes() { return cache_bytes(_SC_LEVEL2_CACHE_SIZE, 1 << 20); }
/// As Linux tells of one CPU's; the C library's figure may be that of a whole socket, of which a virtual machine has a
/// part.
double l3_bytes() {
    double kib = 0;
    if (std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size"); file >> kib && kib > 0)
        return std::max(kib * 1024, l2_bytes());
    return std::max(cache_bytes(_SC_LEVEL3_CACHE_SIZE, 0), l2_bytes());
}

}  // namespace

const char* name(Level level) {
    constexpr std::array<const char*, kLevels> kNames = {"L1", "L2", "L3", "memory"};
    return kNames[static_cast<std::size_t>(level)];
}

std::int64_t last_level_bytes() { return static_cast<std::int64_t>(l3_bytes()); }

Level Ceilings::level_of(double bytes) const {
    for (int level = 0; level + 1 < kLevels; ++level)
        if (bytes <= capacity[static_cast<std::size_t>(level)]) return static_cast<Level>(level);
    return Level::memory;
}

double Ceilings::roofline(const Problem& problem, Level level) const {
    const double intensity = problem.operations() / static_cast<double>(problem.bytes());
    const double moved = intensity * read[static_cast<std::size_t>(level)];
    return std::min(peak[static_cast<std::size_t>(problem.type)], moved);
}

Ceilings measure_ceilings(int threads) {
    const tenon::Machine machine = tenon::machine();
    const std::string& best = machine.instruction_sets.back();
    const bool bf16 = kBf16Loop.run && has(machine, "avx512_bf16"), u8s8 = kU8s8Loop.run && has(machine, "avx512_vnni");
    Ceilings c;
    c.threads = threads;
    c.capacity = {l1_bytes() * threads, l2_bytes() * threads, l3_bytes(), std::numeric_limits<double>::infinity()};
    // In each cache an array that fits well, and not in the one before.
    const double arrays[] = {l1_bytes() / 2, l2_bytes() / 2,
                             std::max(2 * l2_bytes(), std::min(4 * l2_bytes(), l3_bytes() / 2 / threads))};
    const auto raise = [](double& rate, double measured) { rate = std::max(rate, measured); };
    const auto peak = [&](Type type) -> double& { return c.peak[static_cast<std::size_t>(type)]; };
    // What another process takes a share of is no ceiling: several rounds, the best of each.
    for (int round = 0; round < 3; ++round) {
        raise(peak(Type::f32), tenon::measure_peak(best, tenon::DType::float32, threads));
        raise(peak(Type::f64), tenon::measure_peak(best, tenon::DType::float64, threads));
        if (bf16) raise(peak(Type::bf16), dot_peak(kBf16Loop, threads));
        if (u8s8) raise(peak(Type::u8s8), dot_peak(kU8s8Loop, threads));
        for (std::size_t level = 0; level < 3; ++level)
            raise(c.read[level], read_rate(read_loop(best.c_str()), arrays[level], threads));
    }
    c.read[static_cast<std::size_t>(Level::memory)] = tenon::measure_bandwidth(threads).read;
    // Without an instruction of its own, bfloat16 is computed in float32.
    if (!bf16) peak(Type::bf16) = peak(Type::f32);
    if (!u8s8) peak(Type::u8s8) = std::numeric_limits<double>::quiet_NaN();
    return c;
}

}  // namespace bench
