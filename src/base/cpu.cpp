#include "base/cpu.h"

#include <array>
#include <atomic>
#include <cstdlib>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"baseline", "avx2", "avx512", "neon"};
constexpr int kNotForced = -1;

std::atomic<int> forced{kNotForced};

#if defined(__x86_64__)
// clang 14 does not know "f16c" in __builtin_cpu_supports. The instructions use the AVX state, whose support by the
// operating system the builtin has checked with "avx2".
bool has_f16c() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 29));
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }

bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2");
}
#endif

Isa best() {
    for (const Isa isa : {Isa::avx512, Isa::avx2, Isa::neon})
        if (supported(isa)) return isa;
    return Isa::baseline;
}

Isa from_environment() {
    const char* wanted = std::getenv("TENON_ISA");
    if (!wanted || !*wanted) return best();
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        if (kNames[i] != wanted) continue;
        const auto isa = static_cast<Isa>(i);
        if (!supported(isa)) throw ValueError(text("TENON_ISA=", wanted, ": this CPU lacks it"));
        return isa;
    }
    throw ValueError(text("TENON_ISA=", wanted, ": not one of baseline, avx2, avx512, neon"));
}

}  // namespace

std::string_view name(Isa isa) { return kNames[static_cast<std::size_t>(isa)]; }

bool supported(Isa isa) {
    switch (isa) {
        case Isa::baseline:
            return true;
#if defined(__x86_64__)
        case Isa::avx2:
            return has_avx2();
        case Isa::avx512:
            return has_avx512();
#elif defined(__aarch64__)
        case Isa::neon:
            return true;
#endif
        default:
            return false;
    }
}

Isa isa() {
    const int f = forced.load(std::memory_order_relaxed);
    if (f != kNotForced) return static_cast<Isa>(f);
    static const Isa chosen = from_environment();
    return chosen;
}

void force_isa(Isa isa) {
    if (!supported(isa)) throw ValueError(text("force_isa: this CPU lacks ", name(isa)));
    forced.store(static_cast<int>(isa), std::memory_order_relaxed);
}

}  // namespace tenon
