// The axes of a reduction, in the order in which the host and a device visit them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tenon::tape {

/// An axis that is kept (with its stride in the output) or reduced (0).
struct Axis {
    std::int64_t extent, in, out;
};

/// Merges adjacent axes that a single stride can walk.
inline void join_axes(std::vector<Axis>& axes) {
    std::erase_if(axes, [](const Axis& a) { return a.extent == 1; });
    for (std::size_t i = axes.size(); i-- > 1;) {
        Axis &outer = axes[i - 1], &inner = axes[i];
        if (outer.in != inner.in * inner.extent || outer.out != inner.out * inner.extent) continue;
        outer = {outer.extent * inner.extent, inner.in, inner.out};
        axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(i));
    }
}

inline std::int64_t product(const std::vector<Axis>& axes) {
    std::int64_t n = 1;
    for (const Axis& a : axes) n *= a.extent;
    return n;
}

}  // namespace tenon::tape
