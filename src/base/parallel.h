// The thread pool: a few threads of our own, started when first needed. The caller takes part, a call allocates
// nothing, a forked child drops the pool and makes its own, and many threads may submit work at once. How a range is
// divided never changes a result: kernels are written so that each element's arithmetic is independent of it.
#pragma once

#include <cstdint>
#include <type_traits>

namespace tenon {

/// A reference to a callable; valid during the callable's lifetime.
template <class Signature>
class FunctionRef;

template <class R, class... A>
class FunctionRef<R(A...)> {
  public:
    template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& f)  // NOLINT: converts by design
        : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* o, A... a) -> R {
              return (*static_cast<std::remove_reference_t<F>*>(o))(static_cast<A>(a)...);
          }) {}
    R operator()(A... a) const { return call_(object_, static_cast<A>(a)...); }

  private:
    void* object_;
    R (*call_)(void*, A...);
};

/// What the pieces of a job cost. `alike`: each thread begins with a run of adjacent ones. On the first lines of a
/// piece whose neighbour belongs to another core, the two wait for each other, since each prefetches beyond its own
/// end. `unlike`, if the first ones or the last ones cost the most: of n threads, each begins with every n-th.
enum class Pieces : std::uint8_t { alike, unlike };

/// Calls body(begin, end) over disjoint pieces that cover [0, n); each is a multiple of `grain` long, except the last.
/// Runs on the calling thread alone, as one piece, if n <= grain, if one thread is allowed, or inside a piece of
/// another parallel_for. Every piece runs under the caller's floating-point rounding and subnormal modes. After the
/// first exception of a piece no further piece starts, and it is rethrown here once all started pieces have ended.
///
/// A process forked inside a piece may compute (on one thread) but must leave by _exit or exec: returning from the
/// piece aborts it, since the threads that ran the other pieces are not there.
void parallel_for(std::int64_t n, std::int64_t grain, FunctionRef<void(std::int64_t, std::int64_t)> body,
                  Pieces pieces = Pieces::alike);

/// During its lifetime, a parallel_for called from this thread uses at most `threads` threads (Prefetch, which works
/// beside the training, takes 1). Nests: the smallest limit applies.
class ThreadLimit {
  public:
    explicit ThreadLimit(int threads);
    ~ThreadLimit();
    ThreadLimit(const ThreadLimit&) = delete;
    ThreadLimit& operator=(const ThreadLimit&) = delete;

  private:
    int before_;
};

}  // namespace tenon
