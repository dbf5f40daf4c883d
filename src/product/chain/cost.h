// What a chain costs, and when running it as one is expected to pay.
#pragma once

#include "product/chain/middle.h"

namespace tenon::product::chain {

/// Operations a core does in the time in which it moves a byte to or from memory (float32; a Zen 4: 110 GFLOP/s, 15
/// GB/s where reading and writing mix).
inline constexpr double kOperationsAByte = 7;
/// The least part of the time that moving the intermediate must take.
inline constexpr double kLeastGain = 0.03;

/// Bytes of both products' weights, which each strip or block of rows reads again, beyond which these do not stay in
/// cache. Measured: 15 MB of them 0.64 of the speed of the products apart, 7.5 MB 1.2 times it; 9 MB 1.13, and, where
/// the intermediate is kept for others, 0.95 by lanes and 0.88 in blocks.
inline std::int64_t most_weights(const Chain& chain) {
    return chain.kept_product || chain.kept_middle ? std::int64_t{8} << 20 : std::int64_t{12} << 20;
}
inline constexpr const char* kWeightsTooLarge =
    "the weights, which each strip of rows reads again, do not stay in cache";

ChainCost cost_of(const Chain& chain, const Middle& middle);

}  // namespace tenon::product::chain
