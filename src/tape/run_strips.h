// Tapes run as strips (strips.h).
#pragma once

#include "tape/kernels.h"
#include "tape/tape.h"

namespace tenon::tape {

/// Runs the tape, which fits its operands, as run does; returns false, having done nothing, if it does not suit strips.
bool run_strips(const KernelTable& table, const Tape& tape, std::span<const View> inputs, std::span<const View> outputs,
                CachedPlan* kept);

/// Runs by the plan if `kept` has one for such operands; otherwise returns false.
bool run_cached_strips(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                       const CachedPlan* kept);

/// Results of at least this size are stored past the caches.
inline constexpr std::int64_t kStreamBytes = std::int64_t{16} << 20;

}  // namespace tenon::tape
