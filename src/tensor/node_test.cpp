// Where nodes come from: threads that record and release, on their own, for one another, and across a fork.
#include "tensor/node.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <fstream>
#include <new>
#include <set>
#include <thread>
#include <vector>

#include "base/fork_testing.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

// A child must not find the list of free nodes locked by a thread that it does not have.
TEST(Nodes, AForkedChildRecordsWhileThreadsStartAndEnd) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's allocator has no list of free nodes, and may leave its own locks held in a child";
#endif
    const Tensor a = Tensor::from<float>({1, 2, 3});
    std::atomic<bool> stop{false};
    std::atomic<int> running{4};
    for (int t = 0; t < 4; ++t)
        std::thread([&] {
            while (!stop) {
                std::atomic<bool> ended{false};
                std::thread([&] {
                    { const Tensor b = a + 1.0f; }
                    ended = true;
                }).detach();
                while (!ended) std::this_thread::yield();
            }
            --running;
        }).detach();
    int failed = 0;
    for (int i = 0; i < kForks && failed == 0; ++i)
        failed = in_child([&] {
            std::vector<Tensor> all;
            for (int n = 0; n < 1000; ++n) all.push_back(a + 1.0f);
            return 0;
        });
    stop = true;
    while (running > 0) std::this_thread::yield();
    EXPECT_EQ(failed, 0);
}

// Under a sanitizer nodes are not pooled.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Nodes, ServeAgainWhenAnotherThreadReleasedThem) {
    std::set<const Node*> seen;
    for (int round = 0; round < 50; ++round) {
        std::vector<Tensor> made;
        for (int i = 0; i < 1000; ++i) {
            made.emplace_back(1.0f);
            seen.insert(made.back().node());
        }
        std::thread([&] { made.clear(); }).join();
    }
    const std::size_t with_short_threads = seen.size();
    EXPECT_LT(with_short_threads, 5000u);
    std::vector<Tensor> made;
    std::atomic<int> turn{0};  // even: to make, odd: to release
    std::thread consumer([&] {
        for (int round = 0; round < 50; ++round) {
            turn.wait(2 * round);
            made.clear();
            turn = 2 * round + 2;
            turn.notify_all();
        }
    });
    for (int round = 0; round < 50; ++round) {
        for (int i = 0; i < 1000; ++i) {
            made.emplace_back(1.0f);
            seen.insert(made.back().node());
        }
        turn = 2 * round + 1;
        turn.notify_all();
        turn.wait(2 * round + 1);
    }
    consumer.join();
    EXPECT_LT(seen.size() - with_short_threads, 5000u);
}
#endif

// Nor do sanitizers leave room for a limit.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Nodes, RecordingWithoutMemoryIsAMemoryErrorAndLeavesTheOperands) {
    EXPECT_EQ(in_child([] {
                  long pages = 0;
                  std::ifstream("/proc/self/statm") >> pages;
                  rlimit before{};
                  getrlimit(RLIMIT_AS, &before);
                  rlimit limit = before;
                  limit.rlim_cur = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE)) + (32 << 20);
                  if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
                  const std::vector<Tensor> five(5, Tensor::from<float>({1, 2, 3}));
                  std::vector<Tensor> all;
                  all.reserve(1 << 20);
                  try {
                      for (;;) all.push_back(all.size() % 2 ? concat(five, 0) : five[0] + five[1]);
                  } catch (const MemoryError&) {
                  } catch (const std::bad_alloc&) {
                      return 2;
                  }
                  setrlimit(RLIMIT_AS, &before);
                  return (five[0] + five[1]).to<float>()[2] == 6 ? 0 : 3;
              }),
              0);
}
#endif

}  // namespace
}  // namespace tenon
