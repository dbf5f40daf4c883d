// Where the time goes: what was computed since a profile began, by primitive. Any thread may call these functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tenon/export.h"

namespace tenon::profile {

/// All evaluations of one primitive.
struct Entry {
    std::string name;
    std::int64_t calls = 0;
    double seconds = 0;
    double flops = 0;  // as counted from shapes
    double bytes = 0;  // operands and results, each moved once
};

/// Starts counting from zero, for the whole process; costs about 50 ns a node while on. May be called again.
TENON_API void start();
/// Ends the counting; what was counted stays until the next start.
TENON_API void stop();
/// Counted so far, the longest first.
TENON_API std::vector<Entry> entries();

}  // namespace tenon::profile
