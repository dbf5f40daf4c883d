// Which tasks on a device may run at the same time: the branches of the CUDA graph that records them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tenon::schedule {

/// The bytes from `begin` up to `end`.
struct Bytes {
    std::uintptr_t begin, end;
};

/// The memory that a task accesses. A task that is `fixed` (it uses the device's own memory besides its operands) runs
/// in branch 0.
struct AccessSet {
    std::vector<Bytes> reads, writes;
    double seconds = 0;
    bool fixed = true;
};

/// Tasks of one branch run one after the other.
struct BranchPlan {
    std::vector<std::uint32_t> branch;  // for each task
    std::vector<std::vector<std::uint32_t>> after;  // for each task, the tasks of other branches that precede it
};

/// At most `most` branches. If two tasks access the same bytes, and not both only read them, the second runs after the
/// first. The tasks of the longest path stay in one branch; the others run beside it.
BranchPlan plan_branches(std::span<const AccessSet> tasks, std::size_t most);

}  // namespace tenon::schedule
