// The cores of a two-factor layer, as chain.h passes them to kernels.
#pragma once

#include <cstdint>

/// The strides of a core's axes, in elements: its own product's group, the group of the other product, the rank, and
/// the axis that it shares with x or y.
struct CoreStrides {
    long long group, other, rank, inner;
};

struct Core {
    const std::uint16_t* data;
    CoreStrides strides;
};

/// Loads eight elements along `inner`, from the given element on.
__device__ __forceinline__ uint4 load_eight(const Core& core, int group, int other, int rank, int inner) {
    const CoreStrides& s = core.strides;
    const std::uint16_t* from = core.data + group * s.group + other * s.other + rank * s.rank + inner * s.inner;
    if (s.inner == 1) return *reinterpret_cast<const uint4*>(from);
    std::uint32_t e[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) e[i] = from[i * s.inner];
    return make_uint4(e[0] | e[1] << 16, e[2] | e[3] << 16, e[4] | e[5] << 16, e[6] | e[7] << 16);
}
