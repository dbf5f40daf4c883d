// The CPU's arithmetic units, as far as they decide between kernels. No bit depends on them.
#pragma once

namespace tenon::product::dense {

struct Units {
    /// Two 512-bit multiply-adds start in a cycle, not one: a tile needs twice as many sums to hide the latency of
    /// additions. CPUID does not tell. The cores with two (Intel's server cores since Ice Lake, Zen 5) have an L1 data
    /// cache of 48 KiB, those with one (Zen 4) 32 KiB.
    bool two_fma_units;
    /// AVX-512 BF16's dot product takes longer than the two multiply-adds that it replaces. This is assumed if the CPU
    /// has AVX-512 FP16 and two FMA units (Sapphire and Emerald Rapids start one in two cycles, since their matrix unit
    /// is meant for it).
    bool slow_dot_bfloat16;
    /// Three elements are loaded and broadcast in a cycle: a multiply-add may take its own from memory without waiting
    /// for loads. Of the cores with two units those with AVX-512 FP16 do so (Golden Cove); Zen 5 and Ice Lake load two.
    bool three_loads;
};

const Units& units();

}  // namespace tenon::product::dense
