// Which tasks on a device may run at the same time: branches of the CUDA graph that is recorded of them.
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

/// What a task touches. One that is `fixed` (it uses memory of the device's own, beside its operands) goes to branch 0.
struct Reach {
    std::vector<Bytes> reads, writes;
    double seconds = 0;
    bool fixed = true;
};

/// Tasks of a branch run one after the other.
struct BranchPlan {
    std::vector<std::uint32_t> branch;  // of each task
    std::vector<std::vector<std::uint32_t>> after;  // tasks of other branches that come before each task
};

/// At most `most` branches. Of two tasks that touch the same bytes, unless both only read them, the second comes after
/// the first. The tasks of the longest path stay in one branch; the others run beside it.
BranchPlan plan_branches(std::span<const Reach> tasks, std::size_t most);

}  // namespace tenon::schedule
