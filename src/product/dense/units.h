// The arithmetic units of the CPU: what of them decides between kernels. No bit depends on it.
#pragma once

namespace tenon::product::dense {

struct Units {
    /// Two 512-bit multiply-adds start in a cycle, not one: a tile wants twice the sums to hide the latency of
    /// additions. CPUID does not say; the cores that have them (Intel's of servers since Ice Lake, Zen 5) have a
    /// nearest cache of 48 KiB, and those that start one (Zen 4) of 32.
    bool two_multiply_adds;
    /// AVX-512 BF16's dot product takes longer than the two multiply-adds that it stands for. So where the CPU has
    /// AVX-512 FP16 and two such units (Sapphire and Emerald Rapids: one in two cycles; their matrix unit is for it).
    bool slow_dot_bfloat16;
};

const Units& units();

}  // namespace tenon::product::dense
