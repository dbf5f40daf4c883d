#include "schedule/regroup.h"

#include <algorithm>
#include <utility>

namespace tenon::schedule {
namespace {

/// What groups follow from besides layouts, which each of them is asked about: what is computed from what, what is
/// stored, and which reductions are none of rows.
std::vector<std::uint32_t> structure_of(const Program& p) {
    std::vector<std::uint32_t> all;
    all.reserve(4 * p.bases.size());
    for (Index i = 0; i < p.bases.size(); ++i) {
        const Base& b = p.bases[i];
        const bool in_parts = b.needed && b.kind == Kind::reduction && is_reduced_in_parts(p, i);
        all.push_back(static_cast<std::uint32_t>(b.kind) | std::uint32_t{b.needed} << 8 |
                      std::uint32_t{b.escapes} << 9 | std::uint32_t{in_parts} << 10 |
                      static_cast<std::uint32_t>(b.operands.size()) << 16);
        for (const Source& s : b.operands) all.push_back(s.base);
    }
    return all;
}

/// Finds the domain of a group; false where it cannot run as one.
bool fits(const Program& p, Group& g) {
    if (g.has_product) {
        g.domain = {false, p.bases[g.product].shape};
        std::vector<Index> epilogue = g.members;
        std::erase(epilogue, g.product);
        return fits_product(p, g.product, epilogue);
    }
    auto domain = domain_of(p, g.members);
    g.domain = domain ? std::move(*domain) : Domain{};
    return domain || g.members.size() == 1;
}

}  // namespace

KeptGroups::KeptGroups(const Program& program, Groups groups, Repeats repeats)
    : structure_(structure_of(program)), repeats_(std::move(repeats)) {
    const auto keep = [&](Group&& g) {
        Group kept;
        kept.members = std::move(g.members);
        kept.product = g.product, kept.has_product = g.has_product, kept.alone = g.alone;
        groups_.push_back(std::move(kept));
    };
    for (Group& g : groups.groups) {
        if (!g.ready) keep(std::move(g));
        for (Group& part : g.parts) keep(std::move(part));
    }
}

bool KeptGroups::fit(const Program& p) const { return structure_of(p) == structure_ && holds(p, repeats_); }

std::optional<Groups> KeptGroups::of(const Program& p) const {
    Groups all;
    all.groups = groups_;
    all.of.resize(p.bases.size());
    for (std::uint32_t at = 0; at < all.groups.size(); ++at) {
        if (!fits(p, all.groups[at])) return {};
        for (const Index m : all.groups[at].members) all.of[m] = at;
    }
    return all;
}

std::size_t KeptGroups::bytes() const {
    std::size_t bytes = structure_.size() * sizeof(std::uint32_t) + groups_.size() * sizeof(Group) +
                        repeats_.of.size() * sizeof(Repeats::Place) + repeats_.bases.size() * sizeof(Index);
    for (const Group& g : groups_) bytes += g.members.size() * sizeof(Index);
    return bytes;
}

}  // namespace tenon::schedule
