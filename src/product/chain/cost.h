// What a chain costs, and when running it as one is expected to pay.
#pragma once

#include "base/caches.h"
#include "product/chain/middle.h"

namespace tenon::product::chain {

/// Operations a core does in the time in which it moves a byte to or from memory (float32; a Zen 4: 110 GFLOP/s, 15
/// GB/s where reading and writing mix).
inline constexpr double kOperationsAByte = 7;
/// The least part of the time that moving the intermediate must take.
inline constexpr double kLeastGain = 0.03;

/// Bytes of both products' weights, which each strip or block of rows reads again, beyond which these do not stay in
/// cache. Measured: 15 MB of them 0.64 of the speed of the products apart, 7.5 MB 1.2 times it; 9 MB 1.13, and, where
/// the intermediate is kept for others, 0.95 by lanes and 0.88 in blocks. With a large L2, whose last level is slow,
/// what is kept by others repays only weights that stay in L2: gradients of 4,096 columns, 2 and 4 MB, 0.95 and 0.98,
/// of 1,024 1.1.
inline std::int64_t most_weights(const Chain& chain) {
    if (!chain.kept_product && !chain.kept_middle) return std::int64_t{12} << 20;
    return caches().large_l2() ? caches().l2 / 2 : std::int64_t{8} << 20;
}
inline constexpr const char* kWeightsTooLarge =
    "the weights, which each strip of rows reads again, do not stay in cache";

ChainCost cost_of(const Chain& chain, const Middle& middle);

}  // namespace tenon::product::chain
