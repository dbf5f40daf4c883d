#include "bench/team.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace bench {
namespace {

// About as long as the shortest batches take, so that calls in a row find the threads awake.
constexpr int kSpins = 20000;

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/// Returns when `value` is no longer `old`.
void await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
    for (int i = 0; i < kSpins; ++i) {
        if (value.load(std::memory_order_acquire) != old) return;
        relax();
    }
    value.wait(old, std::memory_order_acquire);
}

class Team {
  public:
    explicit Team(int threads) : threads_(threads) {
        for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { serve(t); });
    }
    ~Team() {
        work_ = nullptr;
        start();
    }
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    void share(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work) {
        if (threads_ == 1) return work(0, count);
        work_ = &work, count_ = count;
        running_.store(static_cast<std::uint32_t>(threads_ - 1), std::memory_order_relaxed);
        start();
        part(0);
        for (std::uint32_t left = running_.load(std::memory_order_acquire); left != 0;
             left = running_.load(std::memory_order_acquire))
            await_change(running_, left);
    }

  private:
    void start() {
        generation_.fetch_add(1, std::memory_order_release);
        generation_.notify_all();
    }
    void part(int t) const { (*work_)(count_ * t / threads_, count_ * (t + 1) / threads_); }
    void serve(int t) {
        for (std::uint32_t seen = 0;; ++seen) {
            await_change(generation_, seen);
            if (!work_) return;
            part(t);
            if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_all();
        }
    }

    const int threads_;
    std::int64_t count_ = 0;
    const std::function<void(std::int64_t, std::int64_t)>* work_ = nullptr;
    std::atomic<std::uint32_t> generation_{0}, running_{0};
    // The last member: the threads end before the others, which they use, are destroyed.
    std::vector<std::jthread> workers_;
};

std::unique_ptr<Team>& team() {
    static std::unique_ptr<Team> the_team = std::make_unique<Team>(1);
    return the_team;
}

}  // namespace

void set_team(int threads) { team() = std::make_unique<Team>(threads); }

void share(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work) {
    team()->share(count, work);
}

}  // namespace bench
