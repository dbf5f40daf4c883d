#include <algorithm>
#include <cmath>
#include <limits>

#include "tenon/machine.h"

namespace tenon {
namespace {

bool has(const Machine& machine, const char* feature) {
    return std::find(machine.features.begin(), machine.features.end(), feature) != machine.features.end();
}

}  // namespace

const char* name(MemoryLevel level) {
    constexpr std::array<const char*, kMemoryLevels> kNames = {"L1", "L2", "L3", "memory"};
    return kNames[static_cast<std::size_t>(level)];
}

double Ceilings::peak(DType operands) const {
    switch (operands) {
        case DType::float64:
            return float64;
        case DType::float32:
        case DType::float16:
            return float32;
        case DType::bfloat16:
            return bfloat16;
        case DType::int8:
        case DType::uint8:
            return int8;
        default:
            return std::numeric_limits<double>::quiet_NaN();
    }
}

MemoryLevel Ceilings::level_of(double bytes) const {
    std::size_t level = 0;
    while (level + 1 < kMemoryLevels && bytes > capacity[level]) ++level;
    return static_cast<MemoryLevel>(level);
}

double Ceilings::roofline(DType operands, double operations, double bytes, MemoryLevel level) const {
    const double moved = operations / bytes * read[static_cast<std::size_t>(level)];
    return std::fmin(peak(operands), moved);  // fmin ignores a NaN
}

Ceilings measure_ceilings(int threads, const std::string& instruction_set) {
    const Machine m = machine();
    const std::string& set = instruction_set.empty() ? m.instruction_sets.back() : instruction_set;
    const bool bf16 = set == "avx512" && has(m, "avx512_bf16");
#if defined(__x86_64__)
    constexpr bool kBytes = true;
#else
    constexpr bool kBytes = false;
#endif
    const auto& [l1, l2, l3] = m.cache_bytes;
    Ceilings c;
    c.threads = threads;
    // More threads than CPUs would take turns on them: no more throughput, and a longer measurement.
    threads = std::min(threads, m.cpus_usable);
    c.read[static_cast<std::size_t>(MemoryLevel::memory)] = measure_bandwidth(threads).read;
    c.capacity = {static_cast<double>(l1 * threads), static_cast<double>(l2 * threads), static_cast<double>(l3),
                  std::numeric_limits<double>::infinity()};
    // For each cache, an array that fits into it easily but not into the one before.
    const std::int64_t arrays[] = {l1 / 2, l2 / 2, std::max(2 * l2, std::min(4 * l2, l3 / 2 / threads))};
    const auto raise = [](double& rate, double measured) { rate = std::max(rate, measured); };
    // Another process may take a share of the machine for a while, so the best of several rounds counts.
    for (int round = 0; round < 3; ++round) {
        raise(c.float32, measure_peak(DType::float32, threads, set));
        raise(c.float64, measure_peak(DType::float64, threads, set));
        if (bf16) raise(c.bfloat16, measure_peak(DType::bfloat16, threads, set));
        if (kBytes) raise(c.int8, measure_peak(DType::int8, threads, set));
        for (std::size_t level = 0; level + 1 < kMemoryLevels; ++level)
            raise(c.read[level], measure_read(arrays[level], threads, set));
    }
    // bfloat16 may be widened to float32, whose peak is higher than that of its own instruction on some CPUs.
    c.bfloat16 = std::max(c.bfloat16, c.float32);
    if (!kBytes) c.int8 = std::numeric_limits<double>::quiet_NaN();
    return c;
}

}  // namespace tenon
