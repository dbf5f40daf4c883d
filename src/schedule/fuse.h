// Which bases run together.
#pragma once

#include <string>

#include "schedule/domain.h"

namespace tenon::schedule {

struct Group {
    std::vector<Index> members;  // operands first
    Domain domain;
    Index product = 0;  // of an epilogue
    bool has_product = false;
    std::string alone;  // why it was not joined with what it reads, where there was something to join
};

struct Groups {
    std::vector<Group> groups;
    std::vector<std::uint32_t> of;  // of each base; meaningless for what is not computed
};

/// One group for each computed base that is needed, then joined where the options and the domains allow it.
Groups fuse(const Program& program, const Options& options);

}  // namespace tenon::schedule
