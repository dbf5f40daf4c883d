// The machine as it is described and measured: consistent, and refusing what it does not have.
#include "tenon/machine.h"

#include <gtest/gtest.h>

#include <algorithm>

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
        EXPECT_GT(measure_peak(set, DType::float32, 1), 0);
        EXPECT_GT(measure_peak(set, DType::float64, 2), 0);
    }
}

TEST(Machine, Bandwidth) {
    const Bandwidth b = measure_bandwidth(3);
    EXPECT_GT(b.read, 0);
    EXPECT_GT(b.triad, 0);
    EXPECT_GE(b.array_bytes, 1 << 20);
}

TEST(Machine, RefusesWhatItHasNot) {
    EXPECT_THROW(measure_peak("sse9", DType::float32, 1), ValueError);
    EXPECT_THROW(measure_peak("baseline", DType::int32, 1), TypeError);
    EXPECT_THROW(measure_peak("baseline", DType::float32, 0), ValueError);
    EXPECT_THROW(measure_bandwidth(-1), ValueError);
}

}  // namespace
}  // namespace tenon
