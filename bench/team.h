// Threads for peers that have none: batches of their products are shared out, as their users would.
#pragma once

#include <cstdint>
#include <functional>

namespace bench {

/// Of the row that is measured; ends the threads that are too many.
void set_team(int threads);

/// Calls work(from, to) on parts of 0 ... count that are about equal, one a thread, and waits for all. Threads that
/// wait spin for a moment first.
void share(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work);

}  // namespace bench
