// Parts of a program that repeat, such as the layers of a network: what is found for one of them is used for all.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "schedule/build.h"
#include "schedule/fuse.h"
#include "schedule/program.h"

namespace tenon::schedule {

/// A map of the program onto itself that takes each layer to the next one. An orbit consists of a base of the first
/// layer and the bases that take its place in the other layers. In all layers the bases of an orbit are computed by the
/// same primitive with the same attributes, from operands under the same layouts: bases of an orbit in the same layer,
/// the one before or the one after, or a base that all layers read. Except in the first and the last layer, equally
/// many other bases read them.
struct Repeats {
    static constexpr std::uint32_t kNone = ~std::uint32_t{0};
    struct Place {
        std::uint32_t orbit = kNone, layer = 0;
    };

    std::uint32_t layers = 0;  // 0: nothing repeats
    std::vector<Place> of;  // by base
    std::vector<Index> bases;  // for each orbit, its base in each layer
    std::uint32_t head = 0;  // the layers before those that were left out as groups were made; 0: not known yet

    std::uint32_t orbits() const { return layers == 0 ? 0 : static_cast<std::uint32_t>(bases.size() / layers); }
    Index at(std::uint32_t orbit, std::uint32_t layer) const { return bases[std::size_t{orbit} * layers + layer]; }
};

/// The repetition that covers most bases, of at least five layers.
Repeats find_repeats(const Program& program);

/// Whether what repeats in a program does so in one that has the same bases and edges, but other extents.
bool holds(const Program& program, const Repeats& repeats);

/// The groups that `group` makes of the program. `group` is called for a program without the layers between the first
/// and the last few; the groups of the layer before the gap are then used for all the layers in it. Orbits that are
/// joined across layers (a sum of something of each layer) are left out of `repeats`. Empty if the groups that meet at
/// the gap do not allow it, or if `group` makes none.
std::optional<Groups> group_repeats(const Program& program, Repeats& repeats,
                                    const std::function<std::optional<Groups>(const Program&)>& group);

/// The draft of the corresponding group some layers further.
Draft moved(const Repeats& repeats, const Draft& draft, std::int64_t layers);

}  // namespace tenon::schedule
