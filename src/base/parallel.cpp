// One mutex guards the list of jobs and the number of workers; pieces are taken by atomic counters in the job, which is
// on its caller's stack. Each thread has a share of the pieces, those that it would take if all threads were equally
// fast, so it gets the same ones in equal jobs: what it read and wrote there is still in its own caches. Then it helps
// with the others' shares. A worker enters a job under the mutex while the job is listed, so once its caller has
// removed it from the list, only those who entered remain to be waited for. Nothing here has a destructor: at exit,
// sleeping workers just end with the process, and in a forked child the pool is reset in place.

#include "base/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#if defined(__linux__)
#include <unistd.h>
#endif

#include "base/affinity.h"
#include "base/blocked_signals.h"
#include "base/text.h"
#include "base/thread_count.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon {
namespace {

using Body = FunctionRef<void(std::int64_t, std::int64_t)>;

// More pieces than threads, so that a thread that is held up leaves its share to the others.
constexpr std::int64_t kPiecesPerThread = 4;
// The most shares of a job; if there are more threads, some begin with the same one.
constexpr int kMaxShares = 16;
// A thread that has nothing to do looks for work for kLook before it sleeps, since the threads of one product finish up
// to one piece apart. Waking a thread takes some 25 us on a virtual machine of a Zen 4 and 45 us on one of an Emerald
// Rapids, and more if the system wakes it on its caller's CPU. After kSpin it yields the CPU between two looks.
constexpr std::chrono::microseconds kSpin{25}, kLook{200};
// A worker that has not come after kLate, or during kLateJobs jobs that ended sooner, is waiting for a CPU, usually the
// caller's. Moving workers to other CPUs costs some 10 us, so it is done at most once in kBetweenMoves.
constexpr std::chrono::microseconds kLate{50}, kBetweenMoves{1000};
constexpr int kLateJobs = 2;

// Rounding mode and flushing of subnormals are the caller's, on whatever thread a piece runs.
#if defined(__x86_64__)
using FloatMode = unsigned;
FloatMode float_mode() { return _mm_getcsr(); }
void set_float_mode(FloatMode mode) { _mm_setcsr(mode); }
void pause() { _mm_pause(); }
#elif defined(__aarch64__)
using FloatMode = std::uint64_t;
FloatMode float_mode() {
    FloatMode mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
void set_float_mode(FloatMode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
void pause() { asm volatile("yield"); }
#else
using FloatMode = int;
FloatMode float_mode() { return 0; }
void set_float_mode(FloatMode) {}
void pause() {}
#endif

struct Job {
    Job(Body b, std::int64_t length, std::int64_t piece_length, int threads)
        : body(b),
          n(length),
          piece(piece_length),
          pieces(n / piece + (n % piece != 0)),
          max_helpers(static_cast<int>(std::min<std::int64_t>(threads, pieces)) - 1),
          shares(std::min(max_helpers + 1, kMaxShares)) {}

    /// Pieces of share i: i, i + shares, i + 2 shares and so on.
    std::int64_t count_of(int i) const { return (pieces - i - 1) / shares + 1; }
    bool has_left(int i) const { return share[i].next.load(std::memory_order_relaxed) < count_of(i); }
    bool has_left() const {
        for (int i = 0; i < shares; ++i)
            if (has_left(i)) return true;
        return false;
    }
    void end_all() {
        for (int i = 0; i < shares; ++i) share[i].next.store(count_of(i), std::memory_order_relaxed);
    }

    const Body body;
    const std::int64_t n, piece, pieces;
    const int max_helpers, shares;
    // A worker that enters reads one cache line of its caller's up to here.
    Job* next_job = nullptr;  // guarded by the pool's mutex, as is `entered`
    int entered = 0;
    const FloatMode mode = float_mode();

    struct Share {
        alignas(64) std::atomic<std::int64_t> next{0};  // how many pieces of it are taken
    };
    Share share[kMaxShares];
    alignas(64) std::atomic<int> inside{0};  // workers that entered and have not left
    std::atomic<bool> failed{false};
    std::exception_ptr error;  // written by the thread that set `failed`
};

/// A thread of the pool, on its own stack. Guarded by the pool's mutex.
struct Worker {
    Worker* next = nullptr;
    int index = 0;  // from 1 on: no two workers have the same; callers have 0
    bool in_job = false;
#if defined(__linux__)
    const pid_t thread = gettid();
    KeptOff kept_off;
#endif
};

struct Pool {
    std::mutex mutex;
    Job* jobs = nullptr;
    int workers = 0;
    Worker* running = nullptr;  // those of them that have started
    std::atomic<std::uint32_t> submitted{0};  // changes when a worker should look again
    std::atomic<std::uint32_t> left{0};  // changes when the last worker has left a job
    std::atomic<int> computing{0};  // callers, and workers that run a job
    std::atomic<int> forks{0};  // generations of parents this process has had
    std::atomic<int> alone{0};  // consecutive jobs that no worker joined
    std::atomic<std::chrono::steady_clock::time_point> next_move{};  // of late workers to other CPUs
};

static_assert(std::is_trivially_destructible_v<Pool>, "the pool outlives every static");
constinit Pool pool;

// Inside a piece: what it calls runs serially.
thread_local bool inside_piece = false;
thread_local int thread_limit = INT_MAX;

/// Holds the pool's mutex. It is held for less than a microsecond, mostly, while a thread that sleeps until it is free
/// takes several to wake; so it is polled first.
class PoolLock {
  public:
    PoolLock() {
        for (int i = 0; i < 64; ++i) {
            if (pool.mutex.try_lock()) return;
            pause();
        }
        pool.mutex.lock();
    }
    ~PoolLock() { pool.mutex.unlock(); }
    PoolLock(const PoolLock&) = delete;
    PoolLock& operator=(const PoolLock&) = delete;
};

// Waits until `counter` differs from `seen`. Polls it for a while first, unless that would take a CPU from a thread
// that computes.
void wait_for_change(const std::atomic<std::uint32_t>& counter, std::uint32_t seen) {
    if (counter.load(std::memory_order_acquire) != seen) return;
    const int cpus = cached_usable_cpus();
    if (cpus > 1 && num_threads() <= cpus) {
        const auto start = std::chrono::steady_clock::now();
        for (auto now = start; pool.computing.load(std::memory_order_relaxed) < cpus && now - start < kLook;
             now = std::chrono::steady_clock::now()) {
            if (now - start > kSpin) std::this_thread::yield();
            for (int i = 0; i < 16; ++i) {
                if (counter.load(std::memory_order_acquire) != seen) return;
                pause();
            }
        }
    }
    counter.wait(seen, std::memory_order_acquire);
}

/// Linux may wake a worker on its caller's CPU although another one is idle (its search ends at once if it considers
/// the CPUs that share a cache busy), and leaves it there until a tick. So workers that are needed and have not come
/// are kept off this CPU until they do.
void move_late_workers([[maybe_unused]] const Job& job) {
#if defined(__linux__)
    const PoolLock lock;
    int wanted = job.max_helpers - job.entered;
    for (Worker* w = pool.running; w && wanted > 0; w = w->next)
        if (!w->in_job) keep_off_this_cpu(w->thread, w->kept_off), --wanted;
#endif
}

/// Called between the caller's pieces. Moves late workers, at most once in kBetweenMoves.
void look_for_helpers(const Job& job, std::chrono::steady_clock::time_point start) {
    if (job.inside.load(std::memory_order_relaxed) > 0) return;
    const auto now = std::chrono::steady_clock::now();
    auto next = pool.next_move.load(std::memory_order_relaxed);
    if (now < next || (now - start < kLate && pool.alone.load(std::memory_order_relaxed) < kLateJobs)) return;
    if (pool.next_move.compare_exchange_strong(next, now + kBetweenMoves)) move_late_workers(job);
}

/// Takes a piece of the current share or, if all of that is taken, of the next one. `exhausted` counts shares that had
/// nothing left. -1 if no share has any.
std::int64_t take(Job& job, int& share, int& exhausted) {
    for (; exhausted < job.shares; ++exhausted, share = share + 1 == job.shares ? 0 : share + 1) {
        if (!job.has_left(share)) continue;
        const std::int64_t i = job.share[share].next.fetch_add(1, std::memory_order_relaxed);
        if (i < job.count_of(share)) return i * job.shares + share;
    }
    return -1;
}

/// `index` is the thread's. `start` is the caller's, or null for a helper.
void run_pieces(Job& job, int index, const std::chrono::steady_clock::time_point* start) {
    const int forks = pool.forks.load(std::memory_order_relaxed);
    int share = index % job.shares, exhausted = 0;
    for (bool first = true;; first = false) {
        const std::int64_t i = take(job, share, exhausted);
        if (i < 0) return;
        if (start && !first) look_for_helpers(job, *start);
        try {
            job.body(i * job.piece, i + 1 == job.pieces ? job.n : (i + 1) * job.piece);
        } catch (...) {
            if (!job.failed.exchange(true, std::memory_order_relaxed)) job.error = std::current_exception();
            job.end_all();
        }
        if (pool.forks.load(std::memory_order_relaxed) != forks) {
            std::fputs("tenon: a process forked inside parallel_for must leave by _exit or exec\n", stderr);
            std::abort();
        }
    }
}

// Among the jobs that have work left, the one with the fewest helpers; nullptr if none. The mutex is held.
Job* enter_job() {
    Job* best = nullptr;
    for (Job* job = pool.jobs; job; job = job->next_job) {
        const bool open = job->entered < job->max_helpers && job->has_left();
        if (open && (!best || job->entered < best->entered)) best = job;
    }
    if (best) {
        ++best->entered;
        best->inside.fetch_add(1, std::memory_order_relaxed);
    }
    return best;
}

void help(Job& job, int index) {
    pool.computing.fetch_add(1, std::memory_order_relaxed);
    set_float_mode(job.mode);
    run_pieces(job, index, nullptr);
    pool.computing.fetch_sub(1, std::memory_order_relaxed);
    // Leaving is the last access to the job: its caller may return at once. Only the pool's members are notified.
    if (job.inside.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        pool.left.fetch_add(1, std::memory_order_release);
        pool.left.notify_all();
    }
}

// The list is ordered by index; a worker gets the smallest one that is free. The mutex is held.
void enter_list(Worker& self) {
    self.index = 1;
    Worker** link = &pool.running;
    for (; *link && (*link)->index == self.index; link = &(*link)->next) ++self.index;
    self.next = *link;
    *link = &self;
}
void leave_list(Worker& self) {
    Worker** link = &pool.running;
    while (*link != &self) link = &(*link)->next;
    *link = self.next;
}

void worker() {
    inside_piece = true;
    pthread_setname_np(pthread_self(), "tenon");
    Worker self;
    {
        const PoolLock lock;
        enter_list(self);
    }
    while (true) {
        const std::uint32_t seen = pool.submitted.load(std::memory_order_acquire);
        Job* job;
        {
            const PoolLock lock;
#if defined(__linux__)
            allow_again(self.kept_off);
#endif
            if (pool.workers > num_threads() - 1) {
                --pool.workers;
                return leave_list(self);
            }
            if (self.index > pool.workers) leave_list(self), enter_list(self);
            job = enter_job();
            self.in_job = job != nullptr;
        }
        if (job)
            help(*job, self.index);
        else
            wait_for_change(pool.submitted, seen);
    }
}

// The mutex is held. If the system gives no more threads, there are fewer.
void start_workers(int wanted) {
    if (pool.workers >= wanted) return;
    const BlockedSignals blocked;
    try {
        for (; pool.workers < wanted; ++pool.workers) std::thread(worker).detach();
    } catch (const std::exception&) {
    }
}

void submit(Job& job) {
    int helpers;
    {
        const PoolLock lock;
        start_workers(num_threads() - 1);
        job.next_job = pool.jobs;
        pool.jobs = &job;
        helpers = std::min(job.max_helpers, pool.workers);
        pool.submitted.fetch_add(1, std::memory_order_release);
        if (helpers == pool.workers) helpers = INT_MAX;
    }
    if (helpers == INT_MAX)
        pool.submitted.notify_all();
    else
        for (int i = 0; i < helpers; ++i) pool.submitted.notify_one();
}

void withdraw(Job& job) {
    const PoolLock lock;
    Job** link = &pool.jobs;
    while (*link != &job) link = &(*link)->next_job;
    *link = job.next_job;
    pool.alone.store(job.entered > 0 ? 0 : pool.alone.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void run(Job& job) {
    inside_piece = true;
    pool.computing.fetch_add(1, std::memory_order_relaxed);
    const auto start = std::chrono::steady_clock::now();
    submit(job);
    run_pieces(job, 0, &start);
    withdraw(job);
    pool.computing.fetch_sub(1, std::memory_order_relaxed);
    inside_piece = false;
    while (true) {
        const std::uint32_t seen = pool.left.load(std::memory_order_acquire);
        if (job.inside.load(std::memory_order_acquire) == 0) break;
        wait_for_change(pool.left, seen);
    }
    if (job.error) std::rethrow_exception(job.error);
}

// The mutex is held across a fork, so that the child finds the pool whole; then it forgets the parent's threads and
// jobs.
const int registered = pthread_atfork([] { pool.mutex.lock(); }, [] { pool.mutex.unlock(); },
                                      [] {
                                          pool.jobs = nullptr;
                                          pool.running = nullptr;
                                          pool.workers = 0;
                                          pool.computing.store(0, std::memory_order_relaxed);
                                          pool.forks.fetch_add(1, std::memory_order_relaxed);
                                          pool.mutex.unlock();
                                      });

}  // namespace

int threads_here() { return inside_piece ? 1 : std::min(num_threads(), thread_limit); }

void parallel_for(std::int64_t n, std::int64_t grain, Body body) {
    if (n <= 0) return;
    grain = std::max<std::int64_t>(grain, 1);
    const int threads = n <= grain ? 1 : threads_here();
    if (threads == 1) {
        body(0, n);
        return;
    }
    const std::int64_t grains = n / grain + (n % grain != 0);
    const std::int64_t wanted = kPiecesPerThread * threads;
    const std::int64_t grains_per_piece = grains / wanted + (grains % wanted != 0);
    Job job(body, n, grains_per_piece * grain, threads);
    run(job);
}

void release_extra_threads() {
    pool.submitted.fetch_add(1, std::memory_order_release);
    pool.submitted.notify_all();
}

ThreadLimit::ThreadLimit(int threads) : before_(thread_limit) {
    if (threads < 1) throw ValueError(text("ThreadLimit: ", threads, " threads; at least 1 is needed"));
    thread_limit = std::min(thread_limit, threads);
}

ThreadLimit::~ThreadLimit() { thread_limit = before_; }

}  // namespace tenon
