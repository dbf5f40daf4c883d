// What can be chosen for a product, and the key under which the best choice that was timed is stored (tuning.h). No
// choice changes a bit.
#pragma once

#include <compare>
#include <cstdint>

#include "tenon/dtype.h"

namespace tenon::product::dense {

struct Choice {
    int way = -1;  // index in kWays; -1: the first that accepts
    std::int64_t chunk_bytes = 0;  // bytes of a row of a chunk of B; 0: kChunkBytes
    int tasks = 0;  // tasks for each thread; 0: kTasksPerThread
    friend bool operator==(const Choice&, const Choice&) = default;
};

/// The memory order of an operand: contiguous along k, adjacent across k (rows of A, columns of B), neither, or packed.
enum class OperandOrder : std::uint8_t { along, across, other, packed };

/// The problem that a tuned choice belongs to.
struct ProblemKey {
    DType a, b, out;
    OperandOrder a_order, b_order;
    int threads;
    std::int64_t batch, m, n, k;
    friend auto operator<=>(const ProblemKey&, const ProblemKey&) = default;
};

}  // namespace tenon::product::dense
