// Faults of the compiler in tests: a release build computes node by node instead, and results show nothing.
#pragma once

#include <cstdint>

namespace tenon::schedule::testing {

/// How many a test program has caused on purpose. When it ends there must be no others.
inline std::int64_t expected_faults = 0;

}  // namespace tenon::schedule::testing
