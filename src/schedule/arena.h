// Lifetimes to offsets in one block of memory.
#pragma once

#include <cstdint>
#include <span>

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
/// inference", arXiv 2001.03288). Quadratic in the number of buffers at worst.
std::int64_t place(std::span<Lifetime> buffers);

/// The most bytes alive at one step: no placement needs less. `at` gets the step.
std::int64_t least_bytes(std::span<const Lifetime> buffers, std::int64_t* at = nullptr);

}  // namespace tenon::schedule
