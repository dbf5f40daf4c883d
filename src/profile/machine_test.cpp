// The machine as it is described and measured: consistent, and refusing what it does not have.
#include "tenon/machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/cpu.h"
#include "tenon/error.h"

namespace tenon {
namespace {

TEST(Machine, IsConsistent) {
    const Machine m = machine();
    EXPECT_FALSE(m.cpu.empty());
    EXPECT_GE(m.cpus_usable, 1);
    EXPECT_GE(m.cpus_allowed, m.cpus_usable);
    EXPECT_GT(m.memory_available, 0);
    EXPECT_EQ(m.instruction_set, name(isa()));
    EXPECT_EQ(m.instruction_sets.front(), "baseline");
    EXPECT_NE(std::find(m.instruction_sets.begin(), m.instruction_sets.end(), m.instruction_set),
              m.instruction_sets.end());
}

TEST(Machine, EveryInstructionSetHasAPeak) {
    for (const std::string& set : machine().instruction_sets) {
        EXPECT_GT(measure_peak(DType::float32, 1, set), 0);
        EXPECT_GT(measure_peak(DType::float64, 2, set), 0);
    }
}

TEST(Machine, Bandwidth) {
    const Bandwidth b = measure_bandwidth(3);
    EXPECT_GT(b.read, 0);
    EXPECT_GT(b.triad, 0);
    EXPECT_GE(b.array_bytes, 1 << 20);
}

TEST(Machine, CachesHaveSizesAndAreRead) {
    const auto [l1, l2, l3] = machine().cache_bytes;
    EXPECT_GE(l1, 4 << 10);
    EXPECT_GE(l2, l1);
    EXPECT_GE(l3, l2);
    EXPECT_GT(measure_read(l1 / 2, 1, machine().instruction_set), 0);
    EXPECT_GT(measure_read(1, 2, "baseline"), 0);  // of the least array there is
}

TEST(Machine, DotProductInstructionsHaveAPeakWhereTheyAre) {
    const Machine m = machine();
    const auto has = [&](const char* feature) {
        return std::find(m.features.begin(), m.features.end(), feature) != m.features.end();
    };
    if (supported(Isa::avx512)) {
        if (has("avx512_bf16"))
            EXPECT_GT(measure_peak(DType::bfloat16, 1, "avx512"), 0);
        else
            EXPECT_THROW(measure_peak(DType::bfloat16, 1, "avx512"), TypeError);
    }
    EXPECT_THROW(measure_peak(DType::bfloat16, 1, "baseline"), TypeError);
}

TEST(Machine, EveryX86HasAPeakOf8BitIntegers) {
    for (const std::string& set : machine().instruction_sets) {
#if defined(__x86_64__)
        EXPECT_GT(measure_peak(DType::int8, 1, set), 0) << set;
#else
        EXPECT_THROW(measure_peak(DType::int8, 1, set), TypeError) << set;
#endif
    }
}

TEST(Machine, TheRooflineIsTheLesserOfPeakAndBandwidth) {
    Ceilings c;
    c.float32 = 100, c.bfloat16 = 200, c.float64 = 50, c.int8 = std::numeric_limits<double>::quiet_NaN();
    c.read = {64, 32, 16, 8};
    c.capacity = {1, 10, 100, std::numeric_limits<double>::infinity()};
    EXPECT_EQ(c.level_of(1), MemoryLevel::l1);
    EXPECT_EQ(c.level_of(11), MemoryLevel::l3);
    EXPECT_EQ(c.level_of(1e9), MemoryLevel::memory);
    EXPECT_EQ(c.roofline(DType::float32, 1000, 10, MemoryLevel::memory), 100);
    EXPECT_EQ(c.roofline(DType::float16, 100, 10, MemoryLevel::memory), 80);
    EXPECT_EQ(c.roofline(DType::bfloat16, 100, 10, MemoryLevel::l3), 160);
    EXPECT_EQ(c.roofline(DType::uint8, 100, 10, MemoryLevel::l2), 320);  // no peak is known
    EXPECT_TRUE(std::isnan(c.peak(DType::int32)));
}

TEST(Machine, RefusesWhatItHasNot) {
    EXPECT_THROW(measure_peak(DType::float32, 1, "sse9"), ValueError);
    EXPECT_THROW(measure_peak(DType::int32, 1, "baseline"), TypeError);
    EXPECT_THROW(measure_peak(DType::float32, 0, "baseline"), ValueError);
    EXPECT_THROW(measure_bandwidth(-1), ValueError);
    EXPECT_THROW(measure_read(1024, 1, "sse9"), ValueError);
    EXPECT_THROW(measure_read(1024, 0, "baseline"), ValueError);
    EXPECT_THROW(measure_read(0, 1, "baseline"), ValueError);
}

TEST(Machine, MoreThreadsThanCpusHaveNoMore) {
    const Machine m = machine();
    const Ceilings c = measure_ceilings(32 * m.cpus_usable);
    EXPECT_EQ(c.threads, 32 * m.cpus_usable);
    EXPECT_EQ(c.capacity[0], static_cast<double>(m.cache_bytes[0] * m.cpus_usable));
    EXPECT_GT(c.float32, 0);
}

}  // namespace
}  // namespace tenon
