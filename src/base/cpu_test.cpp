// Instruction sets: what is supported can be forced, what is not is refused, TENON_ISA is obeyed.
#include "base/cpu.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tenon/error.h"

namespace tenon {
namespace {

constexpr Isa kAll[] = {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon};

TEST(Isa, BaselineIsAlwaysThere) {
    EXPECT_TRUE(supported(Isa::baseline));
    EXPECT_TRUE(supported(isa()));
}

TEST(Isa, ForceTakesTheSupportedAndRefusesTheRest) {
    const Isa before = isa();
    for (const Isa i : kAll) {
        if (supported(i)) {
            force_isa(i);
            EXPECT_EQ(isa(), i);
        } else {
            const Isa now = isa();
            EXPECT_THROW(force_isa(i), ValueError);
            EXPECT_EQ(isa(), now);
        }
    }
    force_isa(before);
}

#if defined(__x86_64__)
TEST(Isa, AgreesWithTheKernelsList) {
    std::ifstream file("/proc/cpuinfo");
    std::string line;
    while (std::getline(file, line) && line.rfind("flags", 0) != 0) continue;
    if (line.rfind("flags", 0) != 0) GTEST_SKIP() << "no flags in /proc/cpuinfo";
    line += ' ';
    const auto has = [&](const char* flag) { return line.find(' ' + std::string(flag) + ' ') != std::string::npos; };
    const bool avx2 = has("avx2") && has("fma") && has("f16c");
    EXPECT_EQ(supported(Isa::avx2), avx2);
    EXPECT_EQ(supported(Isa::avx512), avx2 && has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl"));
    EXPECT_FALSE(supported(Isa::neon));
}
#endif

// The environment is read once, so each value needs a process of its own: this program, running the test below
// whatever this process's part of the tests is.
int status_under(const std::string& value) {
    std::ifstream cmdline("/proc/self/cmdline");
    std::string program;
    std::getline(cmdline, program, '\0');
    const std::string command = "env -u GTEST_TOTAL_SHARDS -u GTEST_SHARD_INDEX TENON_ISA='" + value + "' '" + program +
                                "' --gtest_filter=Isa.IsWhatTheEnvironmentNames >/dev/null 2>&1";
    return std::system(command.c_str());
}

TEST(Isa, IsWhatTheEnvironmentNames) {
    const char* wanted = std::getenv("TENON_ISA");
    if (wanted && *wanted) {
        EXPECT_EQ(name(isa()), wanted);  // throws, and so fails, for a set that is unknown or lacking
    } else {
        EXPECT_TRUE(supported(isa()));
    }
}

TEST(Isa, EnvironmentIsObeyed) {
    for (const Isa i : kAll) EXPECT_EQ(status_under(std::string(name(i))) == 0, supported(i)) << name(i);
    EXPECT_EQ(status_under(""), 0);
    EXPECT_NE(status_under("sse9"), 0);
}

}  // namespace
}  // namespace tenon
