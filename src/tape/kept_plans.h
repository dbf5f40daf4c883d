// Plans that a thread keeps from one call of a product to the next: a plan takes about as long as a tape over some
// thousand elements.
#pragma once

#include "tape/tape.h"

namespace tenon::tape {

/// The plan that this thread keeps for such a tape, which it no longer keeps; empty if there is none.
CachedPlan take_plan(const Tape& tape);
/// Keeps the plan, perhaps in the place of another tape's.
void keep_plan(const Tape& tape, CachedPlan plan);

}  // namespace tenon::tape
