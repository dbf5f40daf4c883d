// One value made ahead of its use, on a background thread.
#pragma once

#include <functional>
#include <future>
#include <optional>
#include <system_error>
#include <utility>

#include "base/blocked_signals.h"
#include "base/parallel.h"

namespace tenon {

/// The values f(p) of a sequence of positions p. At most one call of `f` runs at a time, so that `f` may keep state.
template <class Position, class Value>
class Prefetch {
  public:
    explicit Prefetch(std::function<Value(Position)> f) : f_(std::move(f)) {}
    // A call that runs is waited for: the destructor of a future of std::async does that.

    /// f(position), and f(after) is begun on a thread beside, which uses no others. What was not begun is computed here
    /// and now. An exception of f is rethrown.
    Value get(Position position, Position after) {
        const bool begun = std::exchange(begun_, std::nullopt) == position;
        if (pending_.valid() && !begun) pending_.wait();
        Value value = begun ? pending_.get() : f_(position);
        begin(after);
        return value;
    }

  private:
    void begin(Position position) {
        const BlockedSignals blocked;
        try {
            pending_ = std::async(std::launch::async, [this, position] {
                const ThreadLimit alone(1);
                return f_(position);
            });
            begun_ = position;
        } catch (const std::system_error&) {  // no thread to be had
        }
    }

    std::function<Value(Position)> f_;
    std::optional<Position> begun_;
    std::future<Value> pending_;
};

}  // namespace tenon
