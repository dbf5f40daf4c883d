// The groups of a program, used again for the same program of other extents: finding which bases run together takes
// most of a compilation.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "schedule/fuse.h"
#include "schedule/program.h"
#include "schedule/repeats.h"

namespace tenon::schedule {

class KeptGroups {
  public:
    /// Those of all passes; with layers that repeat, those of the program without most of them (group_repeats). What
    /// was joined to one task last is kept apart, since the costs of other extents decide it again.
    KeptGroups(const Program& program, Groups groups, Repeats repeats);

    /// Whether a program reads, computes and stores the same bases, in layers that are equal if those were.
    bool fit(const Program& program) const;
    const Repeats& repeats() const { return repeats_; }

    /// For a program that they fit, or for that without most layers, the groups before those passes. Empty where one
    /// of them cannot run as one with these extents.
    std::optional<Groups> of(const Program& program) const;

    std::size_t bytes() const;

  private:
    std::vector<std::uint32_t> structure_;
    std::vector<Group> groups_;
    Repeats repeats_;
};

}  // namespace tenon::schedule
