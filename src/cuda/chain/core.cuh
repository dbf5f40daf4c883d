// Cores as chain.h passes them to kernels.
#pragma once

#include <cstdint>

/// Distances in a core, in elements: from one group to the next, from one group of the other product to the next, of the rank
/// and of the axis that x or y has.
struct CoreStrides {
    long long group, other, rank, inner;
};

struct Core {
    const std::uint16_t* data;
    CoreStrides strides;
};
