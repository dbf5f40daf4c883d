// Threads for peers that have none: a batch is shared out among them, as users of such a library do.
#pragma once

#include <cstdint>
#include <functional>

namespace bench {

/// Sets the number of threads for the row that is measured next, and ends those beyond it.
void set_team(int threads);

/// Calls work(from, to) on about equal parts of 0 ... count, one for each thread, and waits for all. Waiting threads
/// spin for a moment before they sleep.
void share(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work);

}  // namespace bench
