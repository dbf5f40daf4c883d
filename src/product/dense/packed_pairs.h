// Packed bfloat16 weights in pairs of k, widened to float32 for kernels that sum in it (units.h): by the same law, the
// odd element of a pair first.
#pragma once

#include <algorithm>
#include <cstdint>

#include "product/dense/kernels.h"
#include "product/dense/packed.h"
#include "product/dense/plan.h"

namespace tenon::product::dense {

/// One block of them: where it starts in k, and the number of pairs in each column.
class PackedPairs {
  public:
    PackedPairs(const PackedB& b, std::int64_t k, std::int64_t pairs)
        : b_(b), before_(PackedB::rows(k, b.group, false) * b.panels()), pairs_(pairs) {}

    /// The data from a column on; a panel, or half of one, begins there.
    const std::uint32_t* at(std::int64_t column) const {
        return reinterpret_cast<const std::uint32_t*>(b_.data) + (before_ + column / b_.nr * pairs_) * b_.nr +
               column % b_.nr;
    }

    /// Widens some columns, in whole vectors of `lanes`, to rows of float32 that are `pitch` elements apart.
    void widen(WidenPairs kernel, std::int64_t lanes, Range columns, float* to, std::int64_t pitch) const {
        for (std::int64_t j = columns.begin; j < columns.end;) {
            const std::int64_t own = std::min(columns.end - j, b_.nr - j % b_.nr);
            kernel(to + (j - columns.begin), pitch, at(j), b_.nr, pairs_, ceil_div(own, lanes));
            j += own;
        }
    }

  private:
    const PackedB& b_;
    std::int64_t before_, pairs_;
};

}  // namespace tenon::product::dense
