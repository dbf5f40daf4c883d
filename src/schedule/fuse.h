// Which bases run together.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "schedule/domain.h"
#include "schedule/lists.h"

namespace tenon::schedule {

struct Draft;

struct Group {
    std::vector<Index> members;  // operands first
    Domain domain;
    Index product = 0;  // of an epilogue
    bool has_product = false;
    std::string_view alone;  // why it was not joined with what it reads, if there was something to join
    std::string_view apart;  // for a product: why it forms no chain with the product that it reads
    std::string_view before;  // for a product: why the work that gives an operand is not its prologue
    std::string_view ungrouped;  // for a product: why it does not run with one that reads the same
    std::shared_ptr<const Draft> ready;  // for a chain, a product with prologues, and grouped products: the task
    std::vector<Group> parts;  // the groups that were joined for that
    std::shared_ptr<Draft>
        drafted;  // the task that it is alone, if a pass has asked, without the reasons that came later
    /// For a group of a layer that repeats (repeats.h): the group that this one equals, some layers further.
    static constexpr std::uint32_t kNone = ~std::uint32_t{0};
    std::uint32_t like = kNone, layers = 0;
};

struct Groups {
    std::vector<Group> groups;
    std::vector<std::uint32_t> of;  // for each base; meaningless if it is not computed
};

/// Bases that are read outside their group, or get a value.
std::vector<bool> results_of(const Program& program, const Groups& groups);

/// The needed bases that read each base, in order, each as often as it reads it.
Lists readers_of(const Program& program);

/// Whether the pointwise members of a product's group, whose product is given, may be its epilogue: each reads what the
/// others give element by element, and not too much beside that.
bool fits_product(const Program& program, Index product, std::span<const Index> members);

/// Removes groups without members.
void compact(Groups& groups);

/// Makes one group of some, in the place of the first, with the task as which they run.
void join(Groups& groups, std::span<const std::uint32_t> some, std::shared_ptr<const Draft> ready);

/// One group for each computed base that is needed, then joined as the options and the domains allow.
Groups fuse(const Program& program, const Options& options);

/// Throws std::logic_error if a base is in no group or in two, or if a group cannot run as one; with an order, if a
/// group does not come after what it reads.
void verify(const Program& program, const Groups& groups);
void verify(const Program& program, const Groups& groups, const std::vector<std::uint32_t>& order);

}  // namespace tenon::schedule
