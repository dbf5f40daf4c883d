// Where results and intermediates are in memory.
#pragma once

#include <vector>

#include "schedule/arena.h"
#include "schedule/build.h"
#include "schedule/executable.h"
#include "schedule/program.h"

namespace tenon::schedule {

/// Assigns memory to each result of the drafts, which run in this order: a place in the arena by its lifetime, that of
/// an operand that dies, or a separate storage if it outlives the run. Records in the executable what the memory of
/// dying leaves may be reused for. The locations are by base.
std::vector<Location> plan_memory(const Program& program, const std::vector<Draft>& drafts, const Options& options,
                                  Executable& executable);

/// How the buffers of an executable are stacked, in its arena and in the memory of leaves that die.
struct Arrangements {
    Arrangement in_arena, beside_leaves;
    double most;  // the largest ratio of the arena to the least bytes possible at which the arrangement is reused

    explicit Arrangements(const Executable& executable);
};

/// Places buffers whose sizes have changed: in the same arrangement, unless that takes too much memory.
void place_again(Executable& executable, const Arrangements& like);

}  // namespace tenon::schedule
