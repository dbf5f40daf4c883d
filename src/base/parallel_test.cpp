// The thread pool: coverage of ranges, nesting, exceptions, many callers at once, limits.
#include "base/parallel.h"

#include <gtest/gtest.h>
#if defined(__linux__)
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/affinity.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon {
namespace {

// More threads than this machine may have, so that the pool is at work everywhere.
class ParallelFor : public ::testing::Test {
  protected:
    void SetUp() override { set_num_threads(4); }
    void TearDown() override { set_num_threads(0); }
};

struct Piece {
    std::int64_t begin, end;
    std::thread::id thread;
};

std::vector<Piece> pieces_of(std::int64_t n, std::int64_t grain, Pieces kind = Pieces::alike) {
    std::mutex mutex;
    std::vector<Piece> out;
    const auto body = [&](std::int64_t begin, std::int64_t end) {
        const std::lock_guard lock(mutex);
        out.push_back({begin, end, std::this_thread::get_id()});
    };
    parallel_for(n, grain, body, kind);
    std::sort(out.begin(), out.end(), [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
    return out;
}

// A sum that is right only if every index is visited once.
std::int64_t sum_below(std::int64_t n) {
    std::atomic<std::int64_t> sum{0};
    parallel_for(n, 7, [&](std::int64_t begin, std::int64_t end) {
        std::int64_t part = 0;
        for (std::int64_t i = begin; i < end; ++i) part += i;
        sum += part;
    });
    return sum;
}

TEST_F(ParallelFor, PiecesCoverTheRangeInMultiplesOfTheGrain) {
    for (const std::int64_t n : {0, 1, 2, 5, 63, 64, 65, 1000, 4097})
        for (const std::int64_t grain : {1, 2, 7, 64, 5000})
            for (const Pieces kind : {Pieces::alike, Pieces::unlike}) {
                std::int64_t at = 0;
                for (const Piece& p : pieces_of(n, grain, kind)) {
                    EXPECT_EQ(p.begin, at);
                    EXPECT_GT(p.end, p.begin);
                    EXPECT_TRUE((p.end - p.begin) % grain == 0 || p.end == n) << n << ' ' << grain;
                    at = p.end;
                }
                EXPECT_EQ(at, n);
            }
}

// No thread that takes its share of the pieces has more than a grain more than another.
TEST_F(ParallelFor, SharesAreEven) {
    for (const std::int64_t n : {4, 5, 18, 20, 38, 63, 64, 1001})
        for (const Pieces kind : {Pieces::alike, Pieces::unlike}) {
            const std::vector<Piece> pieces = pieces_of(3 * n, 3, kind);
            std::int64_t share[4] = {};
            for (std::size_t i = 0; i < pieces.size(); ++i) {
                // Four pieces are adjacent, if there are that many for each thread; otherwise all are one grain.
                const std::size_t own = kind == Pieces::alike && pieces.size() == 16 ? i / 4 : i % 4;
                share[own] += pieces[i].end - pieces[i].begin;
            }
            const auto [least, most] = std::minmax_element(std::begin(share), std::end(share));
            EXPECT_LE(*most - *least, 3) << n;
        }
}

TEST_F(ParallelFor, NothingRunsForAnEmptyRange) {
    parallel_for(0, 1, [](std::int64_t, std::int64_t) { FAIL(); });
    parallel_for(-3, 1, [](std::int64_t, std::int64_t) { FAIL(); });
}

TEST_F(ParallelFor, VeryLongRangesDoNotOverflow) {
    const std::int64_t n = std::int64_t{1} << 62;
    for (const Pieces kind : {Pieces::alike, Pieces::unlike})
        for (const int bits : {0, 40}) {
            std::atomic<std::int64_t> covered{0};
            const auto body = [&](std::int64_t begin, std::int64_t end) { covered += end - begin; };
            parallel_for(n, std::int64_t{1} << bits, body, kind);
            EXPECT_EQ(covered, n);
        }
}

// Every thread that is allowed can be inside pieces at the same time: each piece waits until four have begun.
TEST_F(ParallelFor, ThreadsWorkAtTheSameTime) {
    std::atomic<int> begun{0};
    std::mutex mutex;
    std::set<std::thread::id> threads;
    parallel_for(4, 1, [&](std::int64_t, std::int64_t) {
        ++begun;
        while (begun < 4) std::this_thread::yield();
        const std::lock_guard lock(mutex);
        threads.insert(std::this_thread::get_id());
    });
    EXPECT_EQ(threads.size(), 4u);
}

// Where all are equally fast, here since each piece waits for three others, a thread takes four adjacent pieces or
// every fourth one, also where the pool had more threads before.
TEST_F(ParallelFor, ThreadsTakeSharesOfTheirOwn) {
    for (int trial = 0; trial < 20; ++trial) {
        const bool alike = trial % 2 == 0;
        const std::int64_t step = alike ? 1 : 4, first_step = alike ? 4 : 1;
        set_num_threads(7);
        EXPECT_EQ(sum_below(1000), 499500);
        set_num_threads(4);
        std::atomic<int> begun[4] = {};
        std::mutex mutex;
        std::map<std::thread::id, std::vector<std::int64_t>> taken;
        parallel_for(
            16, 1,
            [&](std::int64_t begin, std::int64_t) {
                std::atomic<int>& others = begun[begin / step % 4];
                ++others;
                while (others < 4) std::this_thread::yield();
                const std::lock_guard lock(mutex);
                taken[std::this_thread::get_id()].push_back(begin);
            },
            alike ? Pieces::alike : Pieces::unlike);
        EXPECT_EQ(taken.size(), 4u);
        for (const auto& [thread, pieces] : taken) {
            const std::int64_t first = pieces[0];
            EXPECT_EQ(first % first_step, 0);
            EXPECT_EQ(pieces, (std::vector<std::int64_t>{first, first + step, first + 2 * step, first + 3 * step}));
        }
    }
}

// One of two threads waits in its first piece until the other one has run all pieces but that: those of its own share,
// and then those of the first thread's from the end.
TEST_F(ParallelFor, HelpersTakeAShareFromItsEnd) {
    for (const Pieces kind : {Pieces::alike, Pieces::unlike}) {
        set_num_threads(2);
        std::atomic<int> begun{0}, done{0};
        std::vector<std::int64_t> order;
        parallel_for(
            8, 1,
            [&](std::int64_t begin, std::int64_t) {
                if (++begun <= 2)  // the first piece of each thread
                    while (begun < 2) std::this_thread::yield();
                if (begin == 0) {
                    while (done < 7) std::this_thread::yield();
                } else {
                    order.push_back(begin);
                    ++done;
                }
            },
            kind);
        EXPECT_EQ(order, kind == Pieces::alike ? (std::vector<std::int64_t>{4, 5, 6, 7, 3, 2, 1})
                                               : (std::vector<std::int64_t>{1, 3, 5, 7, 6, 4, 2}));
    }
}

TEST_F(ParallelFor, OneThreadIsTheCaller) {
    set_num_threads(1);
    const auto pieces = pieces_of(1000, 1);
    ASSERT_EQ(pieces.size(), 1u);
    EXPECT_EQ(pieces[0].thread, std::this_thread::get_id());
}

// Starting a worker once took time with the square of their number: this took minutes.
TEST_F(ParallelFor, ThousandsOfThreadsComeAndGo) {
    for (const int threads : {2000, 3, 2000}) {
        set_num_threads(threads);
        for (int i = 0; i < 5; ++i) {
            std::atomic<std::int64_t> total{0};
            parallel_for(10000, 1, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t at = begin; at < end; ++at) total += at;
            });
            EXPECT_EQ(total, std::int64_t{10000} * 9999 / 2) << threads;
        }
    }
}

TEST_F(ParallelFor, NestedRunsOnItsOwnThread) {
    std::atomic<int> foreign{0}, nested{0};
    std::atomic<std::int64_t> total{0};
    parallel_for(16, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const auto outer = std::this_thread::get_id();
            parallel_for(100, 1, [&](std::int64_t b, std::int64_t e) {
                if (std::this_thread::get_id() != outer) ++foreign;
                total += e - b;
                ++nested;
            });
        }
    });
    EXPECT_EQ(foreign, 0);
    EXPECT_EQ(nested, 16);  // in one piece each, as nobody else could take another
    EXPECT_EQ(total, 1600);
    EXPECT_GT(pieces_of(1000, 1).size(), 1u);  // and afterwards in parallel again
}

TEST_F(ParallelFor, AnExceptionIsRethrownWhenAllPiecesHaveEnded) {
    for (int trial = 0; trial < 200; ++trial) {
        std::atomic<int> running{0};
        std::atomic<int> ended{0}, begun{0};
        try {
            parallel_for(64, 1, [&](std::int64_t begin, std::int64_t) {
                ++begun;
                ++running;
                std::this_thread::yield();
                --running;
                ++ended;
                if (begin % 8 == 4) throw std::runtime_error("piece " + std::to_string(begin));
            });
            FAIL() << "no exception";
        } catch (const std::runtime_error& e) {
            EXPECT_EQ(std::string(e.what()).rfind("piece ", 0), 0u);
        }
        EXPECT_EQ(running, 0);
        EXPECT_EQ(ended, begun);
        EXPECT_EQ(sum_below(1000), 499500);  // the pool still works
    }
}

TEST_F(ParallelFor, AnExceptionOfASerialRunPassesThrough) {
    set_num_threads(1);
    EXPECT_THROW(parallel_for(9, 1, [](std::int64_t, std::int64_t) { throw ValueError("no"); }), ValueError);
}

TEST_F(ParallelFor, ManyCallersAtOnce) {
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int t = 0; t < 8; ++t)
        callers.emplace_back([&, t] {
            for (int i = 0; i < 300; ++i)
                if (const std::int64_t n = 1000 + 10 * t + i; sum_below(n) != n * (n - 1) / 2) ++wrong;
        });
    for (auto& caller : callers) caller.join();
    EXPECT_EQ(wrong, 0);
}

// Eight jobs whose pieces wait for one another: only if all are in progress at once does any of them end.
TEST_F(ParallelFor, SeveralJobsProgressTogether) {
    std::atomic<int> jobs_begun{0};
    std::vector<std::thread> callers;
    for (int t = 0; t < 8; ++t)
        callers.emplace_back([&] {
            std::atomic<bool> first{true};
            parallel_for(32, 1, [&](std::int64_t, std::int64_t) {
                if (first.exchange(false)) ++jobs_begun;
                while (jobs_begun < 8) std::this_thread::yield();
            });
        });
    for (auto& caller : callers) caller.join();
    EXPECT_EQ(jobs_begun, 8);
}

// More than the pool has jobs; those that get none compute alone. Each waits until all have begun.
TEST_F(ParallelFor, AHundredCallersAtOnce) {
    constexpr int kCallers = 100;
    std::atomic<int> begun{0}, wrong{0};
    std::vector<std::thread> callers;
    for (int t = 0; t < kCallers; ++t)
        callers.emplace_back([&] {
            std::atomic<bool> first{true};
            std::atomic<std::int64_t> covered{0};
            parallel_for(32, 1, [&](std::int64_t begin, std::int64_t end) {
                if (first.exchange(false)) ++begun;
                while (begun < kCallers) std::this_thread::yield();
                covered += end - begin;
            });
            if (covered != 32) ++wrong;
        });
    for (auto& caller : callers) caller.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(begun, kCallers);
    EXPECT_EQ(sum_below(1000), 499500);  // the jobs are free again
}

TEST_F(ParallelFor, TheThreadCountMayChangeBetweenAndDuringJobs) {
    std::atomic<bool> stop{false};
    std::thread changer([&] {
        for (int i = 0; !stop; ++i) {
            set_num_threads(1 + i % 6);
            std::this_thread::yield();
        }
    });
    for (int i = 0; i < 500; ++i) EXPECT_EQ(sum_below(997), 997 * 996 / 2);
    stop = true;
    changer.join();
}

TEST_F(ParallelFor, AThreadCanBeLimited) {
    {
        const ThreadLimit one(1);
        EXPECT_EQ(pieces_of(1000, 1).size(), 1u);
        const ThreadLimit inner(3);  // the smaller one binds
        EXPECT_EQ(pieces_of(1000, 1).size(), 1u);
        std::thread([] { EXPECT_GT(pieces_of(1000, 1).size(), 1u); }).join();  // other threads are not limited
    }
    EXPECT_GT(pieces_of(1000, 1).size(), 1u);
    EXPECT_THROW(ThreadLimit(0), ValueError);
}

TEST_F(ParallelFor, PiecesRunUnderTheCallersRounding) {
    const auto rounded_up = [] {
        std::atomic<int> up{0};
        std::atomic<int> begun{0};
        parallel_for(4, 1, [&](std::int64_t, std::int64_t) {
            ++begun;
            while (begun < 4) std::this_thread::yield();
            volatile float one = 1.0f, tiny = 1e-20f;
            const float sum = one + tiny;
            if (sum > 1.0f) ++up;
        });
        return up.load();
    };
    EXPECT_EQ(rounded_up(), 0);
    ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
    const int up = rounded_up();
    std::fesetround(FE_TONEAREST);
    EXPECT_EQ(up, 4);
    EXPECT_EQ(rounded_up(), 0);
}

TEST(NumThreads, ChecksItsInput) {
    set_num_threads(3);
    EXPECT_EQ(num_threads(), 3);
    EXPECT_THROW(set_num_threads(-1), ValueError);
    EXPECT_THROW(set_num_threads(1 << 20), ValueError);
    EXPECT_EQ(num_threads(), 3);
    set_num_threads(0);
    EXPECT_GE(num_threads(), 1);
}

TEST(NumThreads, EnvironmentIsReadWhenTheDefaultIs) {
    const char* before = std::getenv("TENON_NUM_THREADS");
    const std::string kept = before ? before : "";
    setenv("TENON_NUM_THREADS", "3", 1);
    set_num_threads(0);
    EXPECT_EQ(num_threads(), 3);
    for (const char* bad : {"0", "-2", "two", "3x", "99999", "4000000000"}) {
        setenv("TENON_NUM_THREADS", bad, 1);
        EXPECT_THROW(set_num_threads(0), ValueError) << bad;
        EXPECT_EQ(num_threads(), 3);
    }
    before ? setenv("TENON_NUM_THREADS", kept.c_str(), 1) : unsetenv("TENON_NUM_THREADS");
    set_num_threads(0);
}

#if defined(__linux__)
TEST(Affinity, AThreadKeptOffACpuComesBack) {
    cpu_set_t allowed;
    ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    if (CPU_COUNT(&allowed) < 2) GTEST_SKIP() << "one CPU is allowed";
    std::atomic<pid_t> other{0};
    std::atomic<int> step{0};
    KeptOff state;
    cpu_set_t meanwhile, after;
    std::thread thread([&] {
        other = gettid();
        while (step == 0) std::this_thread::yield();
        sched_getaffinity(0, sizeof meanwhile, &meanwhile);
        allow_again(state);
        sched_getaffinity(0, sizeof after, &after);
    });
    while (other == 0) std::this_thread::yield();
    keep_off_this_cpu(other, state);
    const bool kept = state.kept;
    step = 1;
    thread.join();
    EXPECT_TRUE(kept);
    EXPECT_FALSE(state.kept);
    EXPECT_EQ(CPU_COUNT(&meanwhile), CPU_COUNT(&allowed) - 1);
    EXPECT_TRUE(CPU_EQUAL(&after, &allowed));
}

TEST(Affinity, AThreadIsNotKeptOffItsOnlyCpu) {
    cpu_set_t before, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    const int cpu = sched_getcpu();
    CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    KeptOff state;
    keep_off_this_cpu(gettid(), state);
    EXPECT_FALSE(state.kept);
    ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}
#endif

}  // namespace
}  // namespace tenon
