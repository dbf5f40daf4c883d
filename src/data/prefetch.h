// The next value of a sequence is computed on a background thread before it is needed.
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
    // The destructor of the future waits for a call that is running.

    /// Returns f(position), and starts f(after) on a background thread that uses no other threads. If f(position) was
    /// not started before, it is computed by the caller. An exception of f is rethrown.
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
        } catch (const std::system_error&) {  // the system grants no thread
        }
    }

    std::function<Value(Position)> f_;
    std::optional<Position> begun_;
    std::future<Value> pending_;
};

}  // namespace tenon
