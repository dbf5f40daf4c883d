// Counter-based random bits: Philox4x32 with 10 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011). A stream is a pure function of (key, domain): any part of it can be computed on its own, in
// any order, by any number of threads, and always holds the same words.
#pragma once

#include <cstdint>
#include <span>

namespace tenon {

/// Words first, first + 1, ... of the stream of `key` and `domain`. Word i is word i mod 4 of the block whose counter
/// is (floor(i / 4), domain), 64 bits each, low word first. Large fills run in parallel; the words do not depend on it.
void philox_fill(std::uint64_t key, std::uint64_t domain, std::uint64_t first, std::span<std::uint32_t> out);

/// A key derived from a key: the first two words of block `index` of the stream of (key, domain). For splitting a key
/// (index = 0, 1, ...) and folding a number into it. Give each purpose a domain of its own.
std::uint64_t philox_derive(std::uint64_t key, std::uint64_t domain, std::uint64_t index);

}  // namespace tenon
