// Parts of a program that repeat, the layers of a network: what is found for one of them serves all.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "schedule/build.h"
#include "schedule/fuse.h"
#include "schedule/program.h"

namespace tenon::schedule {

/// A map of the program onto itself that takes each layer to the next one. An orbit is a base of the first layer and
/// those that take its place in the others. In all layers the bases of an orbit are computed by one primitive with the
/// same attributes, from operands under the same layouts: those of an orbit in the same layer, the one before or the
/// one after, or a base that all layers read. Of each but the first and the last, as many other bases read what is
/// in it.
struct Repeats {
    static constexpr std::uint32_t kNone = ~std::uint32_t{0};
    struct Place {
        std::uint32_t orbit = kNone, layer = 0;
    };

    std::uint32_t layers = 0;  // 0: nothing repeats
    std::vector<Place> of;  // by base
    std::vector<Index> bases;  // of each orbit its base in each layer

    std::uint32_t orbits() const { return layers == 0 ? 0 : static_cast<std::uint32_t>(bases.size() / layers); }
    Index at(std::uint32_t orbit, std::uint32_t layer) const { return bases[std::size_t{orbit} * layers + layer]; }
};

/// The repetition that covers most, of at least five layers.
Repeats find_repeats(const Program& program);

/// The groups that `group` makes of the program. It is asked to group a program without the layers between the first
/// and the last ones; groups of the layer before the gap are those of all the layers that lie in it. Orbits that are
/// joined across layers (a sum of something of each) are left out of `repeats`. Empty where the groups that meet at the
/// gap do not allow it.
std::optional<Groups> group_repeats(const Program& program, Repeats& repeats,
                                    const std::function<Groups(const Program&)>& group);

/// What a draft is for the group that lies some layers further.
Draft moved(const Repeats& repeats, const Draft& draft, std::int64_t layers);

}  // namespace tenon::schedule
