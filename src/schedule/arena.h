// From lifetimes to offsets in one block of memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tenon::schedule {

/// A buffer that lives from step `first` to step `last`, both included.
struct Lifetime {
    std::int64_t bytes;
    std::int64_t first, last;
    std::int64_t offset = 0;  // set by place()
};

inline constexpr std::int64_t kBufferAlignment = 64;

/// Assigns offsets so that buffers that are alive together do not overlap, and returns the bytes needed. The largest
/// are placed first, each in the smallest gap that holds it (Pisarchyk and Lee, "Efficient memory management for deep
/// neural net inference", arXiv 2001.03288). O(n log n) for n buffers if memory has few gaps at a time; each further
/// gap is another step for a buffer.
std::int64_t place(std::span<Lifetime> buffers);

/// Which buffers are directly above which in a placement. Buffers of other sizes with the same lifetimes are placed in
/// the same way, each on top of the highest one below it, without a search. If all sizes grow by one factor, the result
/// equals that of place().
class Arrangement {
  public:
    explicit Arrangement(std::span<const Lifetime> placed);

    /// Assigns offsets, and returns the bytes needed.
    std::int64_t place(std::span<Lifetime> buffers) const;

  private:
    std::vector<std::uint32_t> order_;  // lowest first
    std::vector<std::uint32_t> end_;  // for each buffer in that order, the end of its part of `under_`
    std::vector<std::uint32_t> under_;  // the buffers below each, without those that are below others of them
};

/// The most bytes alive at one step: no placement needs less. `at` receives the step.
std::int64_t least_bytes(std::span<const Lifetime> buffers, std::int64_t* at = nullptr);

}  // namespace tenon::schedule
