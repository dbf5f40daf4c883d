// Each thread's scratch memory for blocks and accumulators.
#pragma once

#include <cstddef>

namespace tenon::tape {

/// This thread's scratch, aligned to a cache line. It grows and is kept. Valid until the thread's next call.
std::byte* scratch(std::size_t bytes);

}  // namespace tenon::tape
