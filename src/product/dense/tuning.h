// Choices found by timing, and what was measured of the machine, kept by machine and library version in a file of the
// user's cache directory: $TENON_TUNING, or tenon/tuning.json below $XDG_CACHE_HOME or ~/.cache. It is read when a
// product first asks that is large enough to be worth the question. A record of another machine or version plays no
// part; a file that is none of ours is left alone with one warning.
#pragma once

#include <string>

#include "product/dense/choice.h"
#include "product/dense/lower.h"
#include "tenon/machine.h"

namespace tenon::product::dense {

ProblemKey key_of(const Lowered& p, bool packed, int threads);

/// The choice for the product as it would be computed now; the usual one where none was tuned.
Choice tuned_choice(const Lowered& p, bool packed);

/// Keeps a choice in this process.
void remember(const ProblemKey& key, const Choice& choice);

/// What was measured of this machine on so many threads, for estimates; null where nothing was, or the file has not
/// been read yet.
const Ceilings* known_ceilings(int threads);
void remember(const Ceilings& ceilings);

/// Writes all that is remembered for this machine and version, and what the file held for others. Throws FileError.
void save_tuning();
/// The file's path; empty where no directory is known.
std::string tuning_path();
/// For tests: forgets all, and reads the file again when next asked.
void forget_tuning();

}  // namespace tenon::product::dense
