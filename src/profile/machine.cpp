#include "tenon/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/caches.h"
#include "base/cgroup.h"
#include "base/cpu.h"

namespace tenon {
namespace {

std::string cpu_name() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("model name", 0) != 0) continue;
        const auto colon = line.find(':');
        if (colon == std::string::npos) continue;
        const auto first = line.find_first_not_of(" \t", colon + 1);
        if (first != std::string::npos) return line.substr(first);
    }
#if defined(__x86_64__)
    return "x86-64";
#elif defined(__aarch64__)
    return "aarch64";
#else
    return "unknown";
#endif
}

int allowed_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    // The call fails if there are more CPUs than cpu_set_t holds. The affinity is then unknown, and every CPU counts.
    if (sched_getaffinity(0, sizeof set, &set) != 0) return static_cast<int>(std::thread::hardware_concurrency());
    return CPU_COUNT(&set);
}

#if defined(__x86_64__)

// Where CPUID reports an extension: the leaf, its sub-leaf, the register (0 to 3: a, b, c, d) and the bit.
struct Feature {
    const char* name;
    unsigned leaf, subleaf;
    int reg, bit;
};

constexpr Feature kFeatures[] = {
    {"sse4_2", 1, 0, 2, 20},   {"avx", 1, 0, 2, 28},         {"f16c", 1, 0, 2, 29},       {"fma", 1, 0, 2, 12},
    {"avx2", 7, 0, 1, 5},      {"avx512f", 7, 0, 1, 16},     {"avx512dq", 7, 0, 1, 17},   {"avx512bw", 7, 0, 1, 30},
    {"avx512vl", 7, 0, 1, 31}, {"avx512_vnni", 7, 0, 2, 11}, {"avx512_bf16", 7, 1, 0, 5}, {"avx512_fp16", 7, 0, 3, 23},
    {"avx_vnni", 7, 1, 0, 4},  {"amx_bf16", 7, 0, 3, 22},    {"amx_int8", 7, 0, 3, 25},
};

std::vector<std::string> features() {
    std::vector<std::string> found;
    for (const Feature& f : kFeatures) {
        unsigned regs[4] = {};
        if (__get_cpuid_count(f.leaf, f.subleaf, &regs[0], &regs[1], &regs[2], &regs[3]) && (regs[f.reg] >> f.bit & 1u))
            found.emplace_back(f.name);
    }
    return found;
}

#elif defined(__aarch64__)

struct Feature {
    const char* name;
    unsigned long type;
    int bit;
};

constexpr Feature kFeatures[] = {
    {"asimd", AT_HWCAP, 1}, {"asimdhp", AT_HWCAP, 10}, {"asimddp", AT_HWCAP, 20}, {"sve", AT_HWCAP, 22},
    {"sve2", AT_HWCAP2, 1}, {"i8mm", AT_HWCAP2, 13},   {"bf16", AT_HWCAP2, 14},
};

std::vector<std::string> features() {
    std::vector<std::string> found;
    for (const Feature& f : kFeatures)
        if (getauxval(f.type) >> f.bit & 1u) found.emplace_back(f.name);
    return found;
}

#else

std::vector<std::string> features() { return {}; }

#endif

}  // namespace

Machine machine() {
    Machine m;
    m.cpu = cpu_name();
    m.cpus = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
    m.cpus_allowed = allowed_cpus();
    m.cpus_usable = usable_cpus();
    m.memory_available = available_memory();
    m.cache_bytes = {caches().l1, caches().l2, caches().l3};
    m.instruction_set = name(isa());
    for (const Isa set : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon})
        if (supported(set)) m.instruction_sets.emplace_back(name(set));
    m.features = features();
    return m;
}

}  // namespace tenon
