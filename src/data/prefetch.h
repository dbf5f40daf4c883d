// One value made ahead of its use, on a background thread.
#pragma once

#include <functional>
#include <future>
#include <optional>
#include <system_error>
#include <utility>

namespace tenon {

/// The values f(p) of a sequence of positions p. At most one call of `f` runs at a time, so that `f` may keep state.
template <class Position, class Value>
class Prefetch {
  public:
    explicit Prefetch(std::function<Value(Position)> f) : f_(std::move(f)) {}
    // A call that runs is waited for: the destructor of a future of std::async does that.

    /// f(position), and f(after) is begun. An exception of f is rethrown.
    Value get(Position position, Position after) {
        if (!(begun_ && *begun_ == position)) begin(position);
        begun_.reset();
        Value value = pending_.get();
        try {
            begin(after);
        } catch (const std::system_error&) {
            // No thread to be had now: the next call tries again, and says so.
        }
        return value;
    }

  private:
    void begin(Position position) {
        if (pending_.valid()) pending_.wait();
        pending_ = std::async(std::launch::async, f_, position);
        begun_ = position;
    }

    std::function<Value(Position)> f_;
    std::optional<Position> begun_;
    std::future<Value> pending_;
};

}  // namespace tenon
