#include "product/dense/cost.h"

#include <cmath>
#include <limits>

#include "base/cpu.h"
#include "product/dense/tuning.h"

namespace tenon::product::dense {
namespace {

/// Handing pieces to other threads that have to be woken, and waiting for them.
constexpr double kWake = 3000;
/// Of the last level of cache, which others use too, beyond which reading is as slow as from memory.
constexpr double kLastLevelShare = 0.5;
/// Threads never share work evenly.
constexpr double kUneven = 1.05;

// One core of a Zen 4 at 3.7 GHz ("tenon info", "tenon bench"): 118 GFLOP/s in float32, with 16 lanes or 8; memory is
// read at 24.9 GB/s by one thread and 45.7 by two. NEON is not measured: two units at 2.6 GHz.
constexpr double kAvx512 = 3.69, kAvx2 = 7.36, kNeon = 5.2, kBaseline = 0.093;
constexpr std::array<double, kMemoryLevels> kRead = {163, 117, 99.5, 24.9};
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

// clang-format off
constexpr Prices kPrices[kCosts][2] = {
    {{{660, 8.99, 0, 2.6, 1.02, 0, 5.69, 0, 2.78, 0, 0}, {0.192, 0.119, 0.193, 0.846}, 0},
     {{677, 18.4, 0, 0.401, 1.02, 6.4, 6.37, 0, 3.54, 0, 0}, {0.906, 0, 0.414, 0.988}, 0}},  // direct
    {{{0, 733, 0, 0, 0.84, 0, 0, 0, 15.2, 0, 0.443}, {0, 1.28, 1.5, 1.17}, 0},
     {{0, 785, 0, 0, 1.3, 4.95, 0, 0, 2.41, 0, 0.531}, {3.08, 0.0879, 0.51, 1.1}, 0}},  // sweep
    {{{681, 0, 54, 1.25, 0.67, 0, 0, 0, 0, 61.7, 0}, {4.1, 2.01, 2.4, 1.48}, 0},
     {{690, 0, 62.3, 0, 0.7, 0, 0.28, 0, 9.53, 58.7, 0}, {5.55, 2.98, 3.55, 2.52}, 0}},  // dot
    {{{683, 0, 56.1, 1.66, 0.604, 0, 0, 9.56, 0, 100, 0}, {2.66, 1.3, 1.26, 1.12}, 0},
     {{668, 0, 17.9, 54.6, 0.941, 4.28, 0, 14.5, 0, 0, 0}, {7.13, 1.62, 4.15, 4.31}, 0}},  // few
    {{{679, 0, 66.7, 0, 0.89, 0, 0, 4.85, 0, 63.1, 0}, {5.78, 4.03, 4.7, 2.28}, 0},
     {{663, 0, 78.1, 0, 1, 0, 1.93, 4.51, 0, 63.1, 0}, {6.23, 3.26, 3.37, 2.49}, 0}},  // few turned
    {{{669, 0, 23.1, 33, 1.1, 17, 7.77, 0.332, 0, 100, 0}, {0.338, 0, 0.0922, 0.999}, 0},
     {{681, 0, 43.6, 37.3, 1.08, 11.5, 6.22, 2.96, 0, 100, 0}, {1.73, 0, 1.53, 2.9}, 0}},  // panels
};
// clang-format on

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

Rates rates_of(std::size_t in_size, int group, int threads) {
    Rates r{threads, typical_multiply_adds(), kRead, kCapacity};
    for (int level = 0; level < 2; ++level) r.capacity[static_cast<std::size_t>(level)] *= threads;
    const Ceilings* measured = known_ceilings(threads);
    if (!measured) return r;
    const DType type = group == 4     ? DType::int8
                       : group == 2   ? DType::bfloat16
                       : in_size == 8 ? DType::float64
                                      : DType::float32;
    const double lanes = vector_bytes() / static_cast<double>(in_size), scale = 1e-9 / threads;
    if (const double peak = measured->peak(type); std::isfinite(peak))
        r.multiply_adds = peak * scale / (2 * lanes * group);
    for (std::size_t level = 0; level < kMemoryLevels; ++level) r.read[level] = measured->read[level] * scale;
    r.capacity = measured->capacity;
    return r;
}

double seconds_of(const Work& work, const Rates& rates, MemoryLevel level) {
    const Prices& prices = kPrices[static_cast<int>(work.cost)][work.plain ? 0 : 1];
    const auto at = static_cast<std::size_t>(level);
    double fixed = 0, vectors = 0;
    for (int i = kCall + 1; i < kFixedItems; ++i) fixed += work.items[i] * prices.items[i];
    for (int i = kFixedItems; i < kItems; ++i) vectors += work.items[i] * prices.items[i];
    const double all =
        fixed + vectors / rates.multiply_adds + work.bytes * prices.bytes[at] / rates.read[at] +
        (level == MemoryLevel::memory ? work.pieces_of_rows * prices.pieces_of_rows / rates.read[at] : 0);
    double share = 1, wake = 0;
    if (rates.threads > 1 && work.pieces > 1) {
        const auto rounds = static_cast<double>(ceil_div(work.pieces, rates.threads));
        share = kUneven * rounds / static_cast<double>(work.pieces);
        wake = kWake;
    }
    return (prices.items[kCall] + wake + all * share) * 1e-9;
}

MemoryLevel level_of(const Work& work, const Rates& rates) {
    std::size_t level = 0;
    while (level + 1 < kMemoryLevels && work.operands > rates.capacity[level] * (level < 2 ? 1 : kLastLevelShare))
        ++level;
    return static_cast<MemoryLevel>(level);
}

double seconds_of(const Work& work, const Rates& rates) { return seconds_of(work, rates, level_of(work, rates)); }

double score_of(const Work& work, const Rates& rates) {
    const MemoryLevel level = level_of(work, rates);
    const double warm = seconds_of(work, rates, level);
    return warm * (level >= MemoryLevel::l3 ? seconds_of(work, rates, MemoryLevel::memory) : warm);
}

KernelWork kernel_work(std::int64_t rows, int mr, std::int64_t columns, int nr, int lanes, double chains) {
    const std::int64_t panels = ceil_div(rows, mr), whole = columns / nr, rest = columns % nr;
    const double r = static_cast<double>(rows) / static_cast<double>(panels);
    // A row's element is broadcast by half a load a cycle, a vector of B takes one.
    const auto cycles = [&](double vectors) { return std::max({r * vectors, r / 2 + vectors, chains}); };
    const int vectors = nr / lanes;
    double all = static_cast<double>(whole) * cycles(vectors);
    if (rest > 0) all += cycles(2 * rest <= nr ? std::max(vectors / 2, 1) : vectors);
    const auto n = static_cast<double>(panels);
    return {all * n, static_cast<double>(whole + (rest > 0 ? 1 : 0)) * n};
}

}  // namespace tenon::product::dense
