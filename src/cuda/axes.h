// Axes of several operands that a kernel visits together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tenon::cuda {

/// Merges axes that a single stride can walk in every operand. `strides` are those of an operand, one for each extent.
template <class Operand>
void join_axes(std::vector<std::int64_t>& extents, std::vector<Operand>& operands,
               std::vector<std::int64_t> Operand::*strides) {
    for (std::size_t d = extents.size(); d-- > 1;) {
        const bool together = std::ranges::all_of(
            operands, [&](const Operand& o) { return (o.*strides)[d - 1] == (o.*strides)[d] * extents[d]; });
        if (!together) continue;
        extents[d - 1] *= extents[d];
        extents.erase(extents.begin() + static_cast<std::ptrdiff_t>(d));
        for (Operand& o : operands) (o.*strides).erase((o.*strides).begin() + static_cast<std::ptrdiff_t>(d) - 1);
    }
}

}  // namespace tenon::cuda
