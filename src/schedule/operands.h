// The operands of an executable's tasks one after another, in as little memory as they need. Each run reads all of them
// once, and where kernels have run in between, every line of them comes from memory.
#pragma once

#include <cstdint>
#include <vector>

#include "schedule/executable.h"

namespace tenon::schedule {

/// What an operand of usual rank takes.
constexpr std::size_t kUsualPackedBytes = sizeof(Location) + 40;

/// Of the tasks that are no numbers: operands, then results.
PackedOperands packed_operands(const std::vector<Task>& tasks);

class OperandReader {
  public:
    explicit OperandReader(const PackedOperands& packed)
        : location_(packed.locations.data()), at_(packed.views.data()), end_(at_ + packed.views.size()) {}

    /// Sets the dtype and the layout of `view`, and returns its offset in its memory.
    std::int64_t next(View& view);
    /// Fetches what is read next, as much as a task has.
    void fetch() const;

  private:
    const Location* location_;
    const std::int64_t *at_, *end_;
};

}  // namespace tenon::schedule
