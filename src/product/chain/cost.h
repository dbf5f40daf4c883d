// The cost of a chain, and when running it in one pass is expected to pay.
#pragma once

#include "base/caches.h"
#include "product/chain/intermediate.h"

namespace tenon::product::chain {

/// Operations of a core in the time of moving one byte to or from memory (float32, Zen 4: 110 GFLOP/s, and 15 GB/s
/// where reading and writing mix).
inline constexpr double kOperationsPerByte = 7;
/// The smallest part of the time that moving the intermediate must take.
inline constexpr double kMinGain = 0.03;

/// The most bytes of both products' weights. Each strip or block of rows reads them again, and beyond this they do not
/// stay in cache. Measured on a Zen 4: 15 MB of weights 0.64 of the speed of separate products, 7.5 MB 1.2 times; 9 MB
/// 1.13, but if the intermediate is kept for others 0.95 by lanes and 0.88 in blocks. With a large L2 the last level is
/// slow, and a kept intermediate pays only with weights that stay in L2 (Emerald Rapids): gradients with 4,096 columns,
/// 2 and 4 MB, 0.95 and 0.98; with 1,024 columns 1.1.
inline std::int64_t most_weights(const Chain& chain) {
    if (!chain.kept_product && !chain.kept_intermediate) return std::int64_t{12} << 20;
    return caches().large_l2() ? caches().l2 / 2 : std::int64_t{8} << 20;
}
inline constexpr const char* kWeightsTooLarge =
    "the weights, which each strip of rows reads again, do not stay in cache";

/// Whether x and the output, of so many bytes together, come without being prefetched: with a small L2 the last level
/// keeps up with it, and up to four times the size of L2 the hardware follows the runs of memory that they are. Zen 5,
/// form "rows": of 512 rows of 1,024 columns the prefetches take 13 % of the time; without those of x, 2,048 rows take
/// 1.15 to 1.4 times as long. Form "panels": 3 % of the time, and 1.06 to 1.3 times as long.
inline bool is_near(std::int64_t bytes) { return !caches().large_l2() && bytes <= 4 * caches().l2; }

/// Half of L2, for z of a block of rows.
inline std::int64_t block_bytes() { return caches().l2 / 2; }

/// Bytes of the intermediate, written and read, up to which separate products find it in the last level of cache and
/// pack panels once for all rows. Two threads of a Zen 4 with 32 MiB, the time of separate products relative to blocks:
/// without a tape, 0.6 to 1.0 at 8 MB, 0.9 to 1.1 at 16 MB, 1.05 to 1.8 from 32 MB on; with one, 0.8 to 1.05 at 16 MB,
/// 1.2 to 1.5 at 32 MB.
inline double cached_bytes() { return static_cast<double>(caches().l3_of_one_core() / 2); }

ChainCost cost_of(const Chain& chain, const Intermediate& intermediate);

}  // namespace tenon::product::chain
