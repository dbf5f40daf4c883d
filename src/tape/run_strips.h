// Tapes run as strips (strips.h).
#pragma once

#include "tape/kernels.h"
#include "tape/tape.h"

namespace tenon::tape {

/// Runs the tape, which fits its operands, as run does; false where it does not suit strips, and nothing is done.
bool run_strips(const KernelTable& table, const Tape& tape, std::span<const View> inputs, std::span<const View> outputs,
                Kept* kept);

/// Runs as planned, where `kept` is a plan for such operands; else false.
bool run_kept_strips(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                     const Kept* kept);

/// Results from this size on go past the caches.
inline constexpr std::int64_t kStreamBytes = std::int64_t{16} << 20;

}  // namespace tenon::tape
