// The groups of a program, used again for the same program of other extents: finding which bases run together takes
// most of a compilation.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "schedule/fuse.h"
#include "schedule/program.h"

namespace tenon::schedule {

class KeptGroups {
  public:
    /// Those of all passes. What was joined to one task last is kept apart, since the costs of other extents decide it
    /// again.
    KeptGroups(const Program& program, Groups groups);

    /// The groups before those passes of a program that reads, computes and stores the same bases. Empty where it does
    /// not, or where a group cannot run as one with these extents.
    std::optional<Groups> of(const Program& program) const;

    std::size_t bytes() const;

  private:
    std::vector<std::uint32_t> structure_;
    std::vector<Group> groups_;
};

}  // namespace tenon::schedule
