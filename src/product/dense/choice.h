// What may be chosen for a product, and what was found best for it by timing (tuning.h). No choice changes a bit.
#pragma once

#include <compare>
#include <cstdint>

#include "tenon/dtype.h"

namespace tenon::product::dense {

struct Choice {
    int row = -1;  // of kRows; -1: the first that accepts
    std::int64_t chunk_bytes = 0;  // of a row of a chunk of B; 0: kChunkBytes
    int tasks = 0;  // for each thread; 0: kTasksAThread
    friend bool operator==(const Choice&, const Choice&) = default;
};

/// How an operand lies: along k, across k (rows of A, columns of B side by side), neither, or packed.
enum class Lie : std::uint8_t { along, across, other, packed };

/// What a tuned choice is for.
struct ProblemKey {
    DType a, b, out;
    Lie a_lies, b_lies;
    int threads;
    std::int64_t batch, m, n, k;
    friend auto operator<=>(const ProblemKey&, const ProblemKey&) = default;
};

}  // namespace tenon::product::dense
