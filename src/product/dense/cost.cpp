#include "product/dense/cost.h"

#include <cmath>
#include <limits>

#include "base/cpu.h"
#include "product/dense/tuning.h"

namespace tenon::product::dense {
namespace {

/// The part of the last level of cache, which other cores use too, beyond which reading is as slow as from memory.
constexpr double kLastLevelShare = 0.5;
/// Threads never share work evenly.
constexpr double kUneven = 1.05;

// One core of a Zen 4 at 3.7 GHz ("tenon info", "tenon bench"): 118 GFLOP/s in float32, with 16 lanes or 8; one thread
// reads memory at 25 to 33 GB/s, two at 35 to 64. NEON was not measured: assumed are two units at 2.6 GHz.
constexpr double kAvx512 = 3.69, kAvx2 = 7.36, kNeon = 5.2, kBaseline = 0.093;
constexpr std::array<double, kMemoryLevels> kRead = {163, 117, 99.5, 30};
constexpr std::array<double, kMemoryLevels> kCapacity = {32 << 10, 1 << 20, 32 << 20,
                                                         std::numeric_limits<double>::infinity()};

double typical_multiply_adds() {
    switch (isa()) {
        case Isa::avx512:
            return kAvx512;
        case Isa::avx2:
            return kAvx2;
        case Isa::neon:
            return kNeon;
        default:
            return kBaseline;
    }
}

/// In the order of CostClass: call, kernel, packed, cycle, cache, memory.
constexpr Prices kPrices[kCostClasses] = {
    {277, 13.9, 6.02, 1.02, 0.96, 1.02},  // direct
    {605, 0, 5.49, 1.65, 0, 1.1},  // sweep
    {236, 32, 2.88, 1.14, 1.07, 1.03},  // dot
    {229, 39.1, 0, 1.13, 0, 1.78},  // transposed
    {278, 73.1, 7.25, 1.2, 1.4, 1.38},  // few
    {324, 26.1, 8.75, 1.09, 0, 1.64},  // panels
};

}  // namespace

int vector_bytes() {
    switch (isa()) {
        case Isa::avx512:
            return 64;
        case Isa::avx2:
            return 32;
        default:
            return 16;
    }
}

Rates rates_of(DType operands, int elements, int threads) {
    Rates r{threads, typical_multiply_adds(), kRead, kCapacity};
    for (int level = 0; level < 2; ++level) r.capacity[static_cast<std::size_t>(level)] *= threads;
    const Ceilings* measured = known_ceilings(threads);
    if (!measured) return r;
    const double scale = 1e-9 / threads;
    if (const double peak = measured->peak(operands); std::isfinite(peak))
        r.multiply_adds = peak * scale / (2 * elements);
    for (std::size_t level = 0; level < kMemoryLevels; ++level) r.read[level] = measured->read[level] * scale;
    r.capacity = measured->capacity;
    return r;
}

MemoryLevel level_of(double bytes, const Rates& rates) {
    std::size_t level = 0;
    while (level + 1 < kMemoryLevels && bytes > rates.capacity[level] * (level < 2 ? 1 : kLastLevelShare)) ++level;
    return static_cast<MemoryLevel>(level);
}

double seconds_of(const Work& work, const Rates& rates, MemoryLevel level) {
    const Prices& price = kPrices[static_cast<int>(work.cost_class)];
    const double arithmetic = price.cycle * work.cycles / rates.multiply_adds,
                 reading = (level == MemoryLevel::memory ? price.memory : price.cache) * work.bytes /
                           rates.read[static_cast<std::size_t>(level)],
                 around = price.kernel * work.kernels + price.packed * work.packed / rates.multiply_adds;
    double share = 1, wake = 0;
    if (rates.threads > 1 && work.pieces > 1) {
        const auto rounds = static_cast<double>(ceil_div(work.pieces, rates.threads));
        share = kUneven * rounds / static_cast<double>(work.pieces);
        wake = kWake;
    }
    return (price.call + wake + (around + std::max(arithmetic, reading)) * share) * 1e-9;
}

double seconds_of(const Work& work, const Rates& rates) {
    return seconds_of(work, rates, level_of(work.operands, rates));
}

double score_of(const Work& work, const Rates& rates) {
    const MemoryLevel level = level_of(work.operands, rates);
    const double warm = seconds_of(work, rates, level);
    return warm * (level >= MemoryLevel::l3 ? seconds_of(work, rates, MemoryLevel::memory) : warm);
}

double operand_bytes(const Lowered& p) {
    const auto bytes = [](std::int64_t rows, std::int64_t columns, DType type) {
        return static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(size_of(type));
    };
    return static_cast<double>(p.batches) *
           (bytes(p.m, p.k, p.a_type) + bytes(p.k, p.n, p.b_type) + bytes(p.m, p.n, p.out_type));
}

KernelWork kernel_work(std::int64_t rows, int mr, std::int64_t columns, int nr, int lanes, double chains) {
    const std::int64_t panels = ceil_div(rows, mr), whole = columns / nr, rest = columns % nr;
    const double r = static_cast<double>(rows) / static_cast<double>(panels);
    // Broadcasting a row's element takes half a load a cycle, loading a vector of B one.
    const auto cycles = [&](double vectors) { return std::max({r * vectors, r / 2 + vectors, chains}); };
    const int vectors = nr / lanes;
    double all = static_cast<double>(whole) * cycles(vectors);
    if (rest > 0) all += cycles(2 * rest <= nr ? std::max(vectors / 2, 1) : vectors);
    const auto n = static_cast<double>(panels);
    return {all * n, static_cast<double>(whole + (rest > 0 ? 1 : 0)) * n};
}

}  // namespace tenon::product::dense
