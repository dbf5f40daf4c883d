// Where results and intermediates lie in memory.
#pragma once

#include <vector>

#include "schedule/arena.h"
#include "schedule/build.h"
#include "schedule/executable.h"
#include "schedule/program.h"

namespace tenon::schedule {

/// Gives each result of the drafts, which run in this order, its memory: a place in the arena by its lifetime, that of
/// an operand which dies, or a storage of its own where it outlives the run. Says in the executable what the memory of
/// leaves that die may serve for. The locations are by base.
std::vector<Location> plan_memory(const Program& program, const std::vector<Draft>& drafts, const Options& options,
                                  Executable& executable);

/// How the buffers of an executable lie above each other, in its arena and in the memory of leaves that die.
struct Arrangements {
    Arrangement in_arena, beside_leaves;
    double most;  // the arena over the least bytes possible, at which others are placed alike

    explicit Arrangements(const Executable& executable);
};

/// Places buffers whose sizes have changed: in the same arrangement, unless that takes too much memory.
void place_again(Executable& executable, const Arrangements& like);

}  // namespace tenon::schedule
