// What a chain costs, and when running it as one is expected to pay.
#pragma once

#include "product/chain/middle.h"

namespace tenon::product::chain {

/// Operations a core does in the time in which it moves a byte to or from memory (float32; a Zen 4: 110 GFLOP/s, 15
/// GB/s where reading and writing mix).
inline constexpr double kOperationsAByte = 7;
/// The least part of the time that moving the intermediate must take.
inline constexpr double kLeastGain = 0.03;

ChainCost cost_of(const Chain& chain, const Middle& middle);

}  // namespace tenon::product::chain
