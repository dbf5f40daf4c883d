// Callers and workers meet in a fixed array of jobs, without a lock: the workers who may still enter a job and those
// inside it are counted in one atomic number, so once its caller has closed it, only those inside remain to be waited
// for. Pieces are taken by atomic counters in the job. Each thread has a share of the pieces, so it gets the same ones
// in equal jobs: what it read and wrote there is still in its own caches. Then it helps with the others' shares, from
// their ends. A mutex guards the list of workers. Nothing here has a destructor: at exit, sleeping workers just end
// with the process, and in a forked child the pool is reset in place.

#include "base/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <optional>
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
// Callers beyond these at the same time compute alone.
constexpr int kMaxJobs = 64;
// A thread that has nothing to do looks for work for kLook before it sleeps, since the threads of one product finish up
// to one piece apart. Waking a thread takes some 25 us on a virtual machine of a Zen 4 and 45 us on one of an Emerald
// Rapids, and more if the system wakes it on its caller's CPU. The first looks, a microsecond or two, are made whoever
// else computes; after kSpin it yields the CPU between two looks.
constexpr int kFirstLooks = 64;
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

/// Workers that look for a job read its first cache line, and those who enter need no other of its caller's.
struct alignas(64) Job {
    // How many workers may enter, whether it is open, and kInside for each worker inside; 0 once all have left.
    std::atomic<std::uint32_t> state{0};
    int shares = 1;
    FloatMode mode{};
    std::optional<Body> body;
    std::int64_t n = 0, grain = 1;
    std::int32_t pieces = 0;
    Pieces kind = Pieces::alike;

    static constexpr std::uint32_t kInside = 1u << 16, kOpen = kInside / 2, kRoom = kOpen - 1;
    static_assert(kMaxThreads < static_cast<int>(kRoom));

    alignas(64) std::atomic<bool> owned{false};  // by a caller
    std::uint32_t max_helpers = 0;
    std::atomic<bool> failed{false};
    std::exception_ptr* error = nullptr;  // written by the thread that set `failed`

    /// How many pieces of a share are taken: by its own thread, from the first on, and by helpers, from the last on.
    struct Share {
        alignas(64) std::atomic<std::uint64_t> taken{0};  // the helpers' in the upper half
        static constexpr std::uint64_t kByHelper = std::uint64_t{1} << 32;
        static std::int64_t own(std::uint64_t counts) { return static_cast<std::int64_t>(counts % kByHelper); }
        static std::int64_t helped(std::uint64_t counts) { return static_cast<std::int64_t>(counts / kByHelper); }
        static std::int64_t all(std::uint64_t counts) { return own(counts) + helped(counts); }
    };
    Share share[kMaxShares];

    void prepare(const Body& b, std::int64_t length, std::int64_t grain_length, Pieces k, int threads,
                 std::exception_ptr& e) {
        body = b, kind = k;
        n = length, grain = grain_length;
        pieces = static_cast<std::int32_t>(std::min(grains(), kPiecesPerThread * threads));
        max_helpers = static_cast<std::uint32_t>(std::min<std::int64_t>(threads, pieces)) - 1;
        shares = std::min(static_cast<int>(max_helpers) + 1, kMaxShares);
        mode = float_mode();
        failed.store(false, std::memory_order_relaxed);
        error = &e;
        for (int i = 0; i < shares; ++i) share[i].taken.store(0, std::memory_order_relaxed);
    }
    std::int64_t grains() const { return n / grain + (n % grain != 0); }
    /// Where piece i begins. All have as many grains or one more. Of every n-th piece the longer ones come first, of
    /// adjacent ones they are spread, so that shares are even.
    std::int64_t begin_of(std::int64_t i) const {
        const std::int64_t all = grains(), more = all % pieces;
        if (i == pieces) return n;
        return (i * (all / pieces) + (kind == Pieces::alike ? i * more / pieces : std::min(i, more))) * grain;
    }
    /// Share i has pieces / shares pieces, or one more.
    std::int64_t size_of(int i) const { return pieces / shares + (i < pieces % shares ? 1 : 0); }
    /// The j-th piece of share i.
    std::int64_t piece_of(int i, std::int64_t j) const {
        if (kind == Pieces::unlike) return j * shares + i;
        return i * (pieces / shares) + std::min(i, pieces % shares) + j;
    }
    /// The next piece of share i; -1 if all are taken.
    std::int64_t take(int i, bool is_own) {
        std::atomic<std::uint64_t>& taken = share[i].taken;
        const std::int64_t size = size_of(i);
        if (Share::all(taken.load(std::memory_order_relaxed)) >= size) return -1;
        const std::uint64_t before = taken.fetch_add(is_own ? 1 : Share::kByHelper, std::memory_order_relaxed);
        if (Share::all(before) >= size) return -1;
        return piece_of(i, is_own ? Share::own(before) : size - 1 - Share::helped(before));
    }
    void end_all() {
        for (int i = 0; i < shares; ++i) share[i].taken.store(static_cast<std::uint64_t>(pieces));
    }

    std::uint32_t room() const { return state.load() & kRoom; }
    void open() { state.exchange(kOpen | max_helpers); }
    bool enter() {
        std::uint32_t s = state.load(std::memory_order_relaxed);
        while (s & kRoom)
            if (state.compare_exchange_weak(s, s - 1 + kInside, std::memory_order_acquire, std::memory_order_relaxed))
                return true;
        return false;
    }
    /// A worker's last access, but for the notification: the job may be another one by then, which does no harm.
    void leave() {
        if (state.fetch_sub(kInside, std::memory_order_release) == kInside) state.notify_all();
    }
    /// Leaves so that another worker may enter.
    void turn_back() {
        std::uint32_t s = state.load(std::memory_order_relaxed), left;
        do {
            left = s - kInside + (s & kOpen ? 1 : 0);
        } while (!state.compare_exchange_weak(s, left, std::memory_order_release, std::memory_order_relaxed));
        if (left == 0) state.notify_all();
    }
    /// Returns whether a worker came.
    bool close() { return (state.fetch_and(~(kOpen | kRoom), std::memory_order_relaxed) & kRoom) < max_helpers; }
    /// No pieces are left then.
    bool is_closed() const { return !(state.load(std::memory_order_relaxed) & kOpen); }
};
static_assert(offsetof(Job, owned) == 64);

/// A thread of the pool, on its own stack.
struct Worker {
    Worker* next = nullptr;  // guarded by the pool's mutex
    int index = 0;  // from 1 on: no two workers have the same; callers have 0
    std::atomic<bool> in_job{false};
#if defined(__linux__)
    const pid_t thread = gettid();
    KeptOff kept_off;  // guarded by the pool's mutex
    std::atomic<bool> is_kept_off{false};
#endif
};

struct Pool {
    std::mutex mutex;
    std::atomic<int> workers{0};  // changed under the mutex
    Worker* running = nullptr;  // those of them that have started; guarded by the mutex
    std::atomic<int> used{0};  // jobs from this one on have never been owned
    std::atomic<int> forks{0};  // generations of parents this process has had
    std::atomic<int> alone{0};  // consecutive jobs that no worker joined
    std::atomic<std::chrono::steady_clock::time_point> next_move{};  // of late workers to other CPUs
    // In cache lines of their own, since every job changes them.
    alignas(64) std::atomic<std::uint32_t> submitted{0};  // changes when an idle worker should look again
    alignas(64) std::atomic<int> callers{0};  // that compute
    alignas(64) std::atomic<int> idle{0};  // workers that found no job for a moment
    Job jobs[kMaxJobs];

    int computing() const {
        return callers.load(std::memory_order_relaxed) + workers.load(std::memory_order_relaxed) -
               idle.load(std::memory_order_relaxed);
    }
};

static_assert(std::is_trivially_destructible_v<Pool>, "the pool outlives every static");
constinit Pool pool;

// Inside a piece: what it calls runs serially.
thread_local bool inside_piece = false;
thread_local int thread_limit = INT_MAX;

/// Calls `look` until it finds something, at most `times`.
template <class F>
auto poll_for_a_moment(F&& look, int times = kFirstLooks) {
    auto found = look();
    for (int i = 1; i < times && !found; ++i) pause(), found = look();
    return found;
}

/// The same until kLook has passed, but only for a moment if more would take a CPU from a thread that computes.
template <class F>
auto poll(F&& look) {
    auto found = poll_for_a_moment(look);
    const int cpus = cached_usable_cpus();
    if (found || cpus == 1 || num_threads() > cpus) return found;
    const auto start = std::chrono::steady_clock::now();
    for (auto now = start; !found && pool.computing() < cpus && now - start < kLook;
         now = std::chrono::steady_clock::now()) {
        if (now - start > kSpin) std::this_thread::yield();
        found = poll_for_a_moment(look, 16);
    }
    return found;
}

/// Linux may wake a worker on its caller's CPU although another one is idle (its search ends at once if it considers
/// the CPUs that share a cache busy), and leaves it there until a tick. So workers that are needed and have not come
/// are kept off this CPU until they do.
void move_late_workers([[maybe_unused]] const Job& job) {
#if defined(__linux__)
    const std::lock_guard lock(pool.mutex);
    std::uint32_t wanted = job.room();
    for (Worker* w = pool.running; w && wanted > 0; w = w->next)
        if (!w->in_job.load(std::memory_order_relaxed)) {
            keep_off_this_cpu(w->thread, w->kept_off), --wanted;
            w->is_kept_off.store(w->kept_off.kept, std::memory_order_relaxed);
        }
#endif
}

/// Called between the caller's pieces. Moves late workers, at most once in kBetweenMoves.
void look_for_helpers(const Job& job, std::chrono::steady_clock::time_point start) {
    if (job.room() < job.max_helpers) return;
    const auto now = std::chrono::steady_clock::now();
    auto next = pool.next_move.load(std::memory_order_relaxed);
    if (now < next || (now - start < kLate && pool.alone.load(std::memory_order_relaxed) < kLateJobs)) return;
    if (pool.next_move.compare_exchange_strong(next, now + kBetweenMoves)) move_late_workers(job);
}

/// Takes a piece of the current share or, if all of that is taken, of the next one. `exhausted` counts shares that had
/// nothing left. -1 if no share has any.
std::int64_t take(Job& job, bool is_helper, int& share, int& exhausted) {
    for (; exhausted < job.shares; ++exhausted, share = share + 1 == job.shares ? 0 : share + 1) {
        // Its caller closes a job when no pieces are left, and may be waiting for this thread.
        if (exhausted > 0 && is_helper && job.is_closed()) break;
        if (const std::int64_t i = job.take(share, exhausted == 0); i >= 0) return i;
    }
    return -1;
}

/// Asks for a cache line that this thread will change.
void fetch_to_change([[maybe_unused]] const void* line) {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#endif
}

/// `index` is the thread's. `start` is the caller's, or null for a helper.
void run_pieces(Job& job, int index, const std::chrono::steady_clock::time_point* start) {
    const int forks = pool.forks.load(std::memory_order_relaxed);
    int share = index % job.shares, exhausted = 0;
    for (bool first = true;; first = false) {
        const std::int64_t i = take(job, start == nullptr, share, exhausted);
        if (i < 0) return;
        if (start && !first) look_for_helpers(job, *start);
        try {
            (*job.body)(job.begin_of(i), job.begin_of(i + 1));
        } catch (...) {
            if (!job.failed.exchange(true, std::memory_order_relaxed)) *job.error = std::current_exception();
            job.end_all();
        }
        if (pool.forks.load(std::memory_order_relaxed) != forks) {
            std::fputs("tenon: a process forked inside parallel_for must leave by _exit or exec\n", stderr);
            std::abort();
        }
    }
}

/// Enters the job that has room for the most workers; nullptr if none has any.
Job* enter_job(int index) {
    while (true) {
        Job* best = nullptr;
        std::uint32_t most = 0;
        for (int i = 0, used = pool.used; i < used; ++i)
            if (const std::uint32_t room = pool.jobs[i].room(); room > most) best = &pool.jobs[i], most = room;
        if (!best) return nullptr;
        fetch_to_change(&best->share[index % kMaxShares]);
        if (best->enter()) return best;
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

void wake_idle() {
    pool.submitted.fetch_add(1, std::memory_order_release);
    pool.submitted.notify_all();
}

/// Whether something is to be done under the mutex.
bool needs_care(const Worker& self) {
#if defined(__linux__)
    if (self.is_kept_off.load(std::memory_order_relaxed)) return true;
#endif
    const int workers = pool.workers.load(std::memory_order_relaxed);
    return workers > num_threads() - 1 || self.index > workers;
}

/// Returns whether the worker stays.
bool take_care(Worker& self) {
    const std::lock_guard lock(pool.mutex);
#if defined(__linux__)
    allow_again(self.kept_off);
    self.is_kept_off.store(false, std::memory_order_relaxed);
#endif
    const int workers = pool.workers.load(std::memory_order_relaxed);
    if (workers > num_threads() - 1) {
        pool.workers.store(workers - 1, std::memory_order_relaxed);
        leave_list(self);
        return false;
    }
    if (self.index > workers) leave_list(self), enter_list(self);
    return true;
}

void worker() {
    inside_piece = true;
    pthread_setname_np(pthread_self(), "tenon");
    Worker self;
    {
        const std::lock_guard lock(pool.mutex);
        enter_list(self);
    }
    while (true) {
        const std::uint32_t seen = pool.submitted.load(std::memory_order_acquire);
        if (needs_care(self) && !take_care(self)) return;
        const auto look = [&] { return enter_job(self.index); };
        // Some 10 us, since calls in a row leave shorter gaps, and a caller that finds no idle worker has less to do.
        Job* job = poll_for_a_moment(look, num_threads() <= cached_usable_cpus() ? 8 * kFirstLooks : 1);
        if (!job) {
            // Either a look from here on finds a job that is opened now, or its caller finds that this worker is idle.
            pool.idle.fetch_add(1);
            job = poll(look);
            if (!job) pool.submitted.wait(seen, std::memory_order_acquire);
            pool.idle.fetch_sub(1, std::memory_order_relaxed);
        }
        if (!job) continue;
        // The number of threads that its caller saw is known only now. Two workers of one index would take the same
        // share.
        if (needs_care(self)) {
            job->turn_back();
            wake_idle();
            continue;
        }
        self.in_job.store(true, std::memory_order_relaxed);
        if (float_mode() != job->mode) set_float_mode(job->mode);
        run_pieces(*job, self.index, nullptr);
        self.in_job.store(false, std::memory_order_relaxed);
        job->leave();
    }
}

void start_workers(int wanted) {
    if (pool.workers.load(std::memory_order_relaxed) >= wanted) return;
    const std::lock_guard lock(pool.mutex);
    const BlockedSignals blocked;
    // If the system gives no more threads, there are fewer.
    try {
        for (; pool.workers.load(std::memory_order_relaxed) < wanted; pool.workers.fetch_add(1))
            std::thread(worker).detach();
    } catch (const std::exception&) {
    }
}

/// Null if all are owned.
Job* own_job() {
    for (int i = 0; i < kMaxJobs; ++i) {
        Job& job = pool.jobs[i];
        if (job.owned.load(std::memory_order_relaxed) || job.owned.exchange(true, std::memory_order_acquire)) continue;
        int used = pool.used;
        while (used <= i && !pool.used.compare_exchange_weak(used, i + 1)) continue;
        return &job;
    }
    return nullptr;
}

void submit(Job& job) {
    start_workers(num_threads() - 1);
    job.open();
    if (pool.idle == 0) return;
    pool.submitted.fetch_add(1, std::memory_order_release);
    if (static_cast<int>(job.max_helpers) >= pool.workers.load(std::memory_order_relaxed))
        pool.submitted.notify_all();
    else
        for (std::uint32_t i = 0; i < job.max_helpers; ++i) pool.submitted.notify_one();
}

/// Runs a prepared job and gives it back.
void run(Job& job) {
    inside_piece = true;
    submit(job);
    pool.callers.fetch_add(1, std::memory_order_relaxed);
    const auto start = std::chrono::steady_clock::now();
    run_pieces(job, 0, &start);
    const int alone = pool.alone.load(std::memory_order_relaxed), now_alone = job.close() ? 0 : alone + 1;
    if (now_alone != alone) pool.alone.store(now_alone, std::memory_order_relaxed);
    pool.callers.fetch_sub(1, std::memory_order_relaxed);
    inside_piece = false;
    const auto inside = [&] { return job.state.load(std::memory_order_acquire); };
    while (!poll([&] { return inside() == 0; }))
        if (const std::uint32_t still = inside()) job.state.wait(still, std::memory_order_acquire);
    job.owned.store(false, std::memory_order_release);
}

// The mutex is held across a fork, so that the child finds the pool whole; then it forgets the parent's threads and
// jobs.
const int registered = pthread_atfork([] { pool.mutex.lock(); }, [] { pool.mutex.unlock(); },
                                      [] {
                                          for (Job& job : pool.jobs) job.state = 0, job.owned = false;
                                          pool.running = nullptr;
                                          pool.workers = 0;
                                          pool.callers = 0;
                                          pool.idle = 0;
                                          pool.forks.fetch_add(1, std::memory_order_relaxed);
                                          pool.mutex.unlock();
                                      });

}  // namespace

int threads_here() { return inside_piece ? 1 : std::min(num_threads(), thread_limit); }

void parallel_for(std::int64_t n, std::int64_t grain, Body body, Pieces pieces) {
    if (n <= 0) return;
    grain = std::max<std::int64_t>(grain, 1);
    const int threads = n <= grain ? 1 : threads_here();
    Job* const job = threads == 1 ? nullptr : own_job();
    if (!job) return body(0, n);
    std::exception_ptr error;
    job->prepare(body, n, grain, pieces, threads, error);
    run(*job);
    if (error) std::rethrow_exception(error);
}

void release_extra_threads() { wake_idle(); }

ThreadLimit::ThreadLimit(int threads) : before_(thread_limit) {
    if (threads < 1) throw ValueError(text("ThreadLimit: ", threads, " threads; at least 1 is needed"));
    thread_limit = std::min(thread_limit, threads);
}

ThreadLimit::~ThreadLimit() { thread_limit = before_; }

}  // namespace tenon
