// Lifetimes to offsets in one block of memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tenon::schedule {

/// A buffer that lives from step `first` to step `last`, both included.
struct Lifetime {
    std::int64_t bytes;
    std::int64_t first, last;
    std::int64_t offset = 0;  // what place() finds
};

inline constexpr std::int64_t kBufferAlignment = 64;

/// Gives offsets so that buffers alive together do not overlap, and returns the bytes needed. The largest are placed
/// first, each in the smallest gap that holds it (Pisarchyk and Lee, "Efficient memory management for deep neural net
/// inference", arXiv 2001.03288). For n buffers O(n log n) where memory has few gaps at a time; where it has many, as
/// many steps more a buffer.
std::int64_t place(std::span<Lifetime> buffers);

/// Which buffers lie directly above which in a placement. Buffers of other sizes with the same lifetimes are placed in
/// the same way, each on top of the highest one below it, without a search. If all sizes grow by one factor, the result
/// is that of place().
class Arrangement {
  public:
    explicit Arrangement(std::span<const Lifetime> placed);

    /// Gives offsets, and returns the bytes needed.
    std::int64_t place(std::span<Lifetime> buffers) const;

  private:
    std::vector<std::uint32_t> order_;  // the lowest first
    std::vector<std::uint32_t> end_;  // of each in that order the end of its part of `under_`
    std::vector<std::uint32_t> under_;  // buffers below, but for those that are below others of them
};

/// The most bytes alive at one step: no placement needs less. `at` gets the step.
std::int64_t least_bytes(std::span<const Lifetime> buffers, std::int64_t* at = nullptr);

}  // namespace tenon::schedule
