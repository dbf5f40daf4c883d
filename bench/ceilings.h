// What no product can exceed on this machine, measured.
#pragma once

#include <array>
#include <string>

#include "bench/problem.h"

namespace bench {

enum class Level { l1, l2, l3, memory };
inline constexpr int kLevels = 4;
const char* name(Level level);

struct Ceilings {
    int threads = 1;
    /// Operations a second of instructions that stay in registers, by Type; NaN where the CPU has no instruction for
    /// such products.
    std::array<double, kTypes> peak{};
    /// Bytes a second that are read, by Level.
    std::array<double, kLevels> read{};
    /// The bytes that each level holds for so many threads.
    std::array<double, kLevels> capacity{};

    /// The nearest level that holds so many bytes.
    Level level_of(double bytes) const;
    /// Operations a second: the lesser of the peak and what the bandwidth allows where each operand is moved once.
    double roofline(const Problem& problem, Level level) const;
};

/// Takes about three seconds.
Ceilings measure_ceilings(int threads);

/// Of the last level, as the system says it.
std::int64_t last_level_bytes();

}  // namespace bench
