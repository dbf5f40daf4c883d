// Choices found by timing, and measured properties of the machine. They are stored by machine and library version in a
// file of the user's cache directory: $TENON_TUNING, or tenon/tuning.json below $XDG_CACHE_HOME or ~/.cache. The file
// is read when the first sufficiently large product runs. Records of another machine or version are ignored; a file in
// another format is left alone, with one warning.
#pragma once

#include <string>

#include "product/dense/choice.h"
#include "product/dense/lower.h"
#include "tenon/machine.h"

namespace tenon::product::dense {

ProblemKey key_of(const Lowered& p, bool packed, int threads);

/// Sets the choice for the product as it would be computed now, if one was tuned.
void find_tuned(const Lowered& p, bool packed, Choice& choice);

/// Stores a choice in this process.
void remember(const ProblemKey& key, const Choice& choice);

/// What was measured of this machine with this many threads, for estimates; null if nothing was, or if the file has not
/// been read yet.
const Ceilings* known_ceilings(int threads);
void remember(const Ceilings& ceilings);

/// Writes all choices of this machine and version, and keeps the file's other records. Throws FileError.
void save_tuning();
/// The file's path; empty if no directory is known.
std::string tuning_path();
/// For tests: forgets everything, and reads the file again at the next question.
void forget_tuning();

}  // namespace tenon::product::dense
