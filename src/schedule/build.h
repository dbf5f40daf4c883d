// From groups to tasks with tapes.
#pragma once

#include "schedule/executable.h"
#include "schedule/fuse.h"

namespace tenon::schedule {

/// What a task reads and writes, before the buffers are placed: sources of operands in order, bases of results.
struct Draft {
    Task task;
    std::vector<Source> in;  // their layouts are those of the task's views
    std::vector<Index> out;
    std::vector<Layout> out_layouts;
    bool repeated = false;  // the task of an earlier layer, on other buffers
};

/// The FLOPs of the members, and the bytes that the draft reads and writes.
Cost cost_of(const Program& program, const std::vector<Index>& members, const Draft& draft);

/// The instruction of a pointwise member, on registers.
tape::Instruction instruction_of(const Program& program, Index member, const std::uint8_t* operands, std::size_t n);

/// `is_result` says for each base whether something outside its group reads it.
Draft draft(const Program& program, const Group& group, const std::vector<bool>& is_result);

}  // namespace tenon::schedule
