// The thread pool and the process: forks before, during and after work, exit, CPU affinity, cgroup quotas.
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/cgroup.h"
#include "base/fork_testing.h"
#include "base/parallel.h"
#include "tenon/threads.h"

namespace tenon {
namespace {

bool sum_is_right(std::int64_t n) {
    std::atomic<std::int64_t> sum{0};
    parallel_for(n, 3, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) sum.fetch_add(i, std::memory_order_relaxed);
    });
    return sum == n * (n - 1) / 2;
}

int compute() { return sum_is_right(200) ? 0 : 1; }

// Two pieces that wait for each other: right only where the pool has a thread beside the caller.
int compute_together() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(50);
    std::atomic<int> begun{0};
    parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
        ++begun;
        while (begun < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    });
    return begun == 2 && sum_is_right(200) ? 0 : 1;
}

// The children's work. Waiting for another thread takes long on a busy machine, so only some do.
int compute_as(int child) { return child % 10 == 0 ? compute_together() : compute(); }

class Fork : public ::testing::Test {
  protected:
    void SetUp() override { set_num_threads(4); }
    void TearDown() override { set_num_threads(0); }
};

// Each trial is a process of its own, so that its pool has not started when it forks.
TEST_F(Fork, BeforeWork) {
    for (int i = 0; i < kForks; ++i) {
        const int status = in_child([i] {
            const int grandchild = in_child([i] { return compute_as(i); });
            return grandchild == 0 ? compute_as(i) : 2;
        });
        ASSERT_EQ(status, 0) << "fork " << i;
    }
}

TEST_F(Fork, AfterWork) {
    for (int i = 0; i < kForks; ++i) {
        ASSERT_EQ(compute_as(i), 0);
        ASSERT_EQ(in_child([i] { return compute_as(i); }), 0) << "fork " << i;
    }
    EXPECT_EQ(compute_together(), 0);
}

TEST_F(Fork, WhileOtherThreadsCompute) {
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0}, running{3};
    // Detached: ThreadSanitizer takes a child's new thread for a joinable one of the parent whose stack it got.
    for (int t = 0; t < 3; ++t)
        std::thread([&] {
            while (!stop) wrong += compute();
            --running;
        }).detach();
    int failed = 0;
    for (int i = 0; i < kForks && failed == 0; ++i) failed = in_child([i] { return compute_as(i); });
    stop = true;
    while (running > 0) std::this_thread::yield();
    EXPECT_EQ(failed, 0);
    EXPECT_EQ(wrong, 0);
}

TEST_F(Fork, InsideAPiece) {
    std::atomic<int> failed{0};
    for (int i = 0; i < kForks / 10; ++i)
        parallel_for(10, 1, [&](std::int64_t, std::int64_t) {
            if (in_child(compute) != 0) ++failed;
        });
    EXPECT_EQ(failed, 0);
    EXPECT_EQ(compute(), 0);
}

TEST_F(Fork, AChildThatReturnsFromAPieceIsAborted) {
    const int status = in_child([] {
        close(STDERR_FILENO);
        std::atomic<int> aborted{0};
        std::atomic<bool> done{false};
        parallel_for(4, 1, [&](std::int64_t, std::int64_t) {
            if (done.exchange(true)) return;
            const pid_t pid = fork();
            if (pid != 0) aborted = wait_for(pid) == kSignalled;
        });
        return aborted == 1 ? 0 : 1;
    });
    EXPECT_EQ(status, 0);
}

TEST_F(Fork, AGrandchildWorksToo) {
    const int status =
        in_child([] { return compute() ? 1 : in_child([] { return compute() ? 2 : in_child(compute); }); });
    EXPECT_EQ(status, 0);
}

// exit() destroys statics while workers sleep, and while another thread still computes.
TEST_F(Fork, ExitIsCleanWhileWorkersSleepOrWork) {
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(in_child([] {
                      std::exit(compute());
                      return 0;
                  }),
                  0);
        EXPECT_EQ(in_child([] {
                      std::thread([] {
                          while (true) compute();
                      }).detach();
                      const int status = compute();
                      std::exit(status);
                      return 0;
                  }),
                  0);
    }
}

TEST(Affinity, OneCpuGivesOneThread) {
    EXPECT_EQ(in_child([] {
                  unsetenv("TENON_NUM_THREADS");
                  cpu_set_t allowed, one;
                  CPU_ZERO(&one);
                  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
                  int cpu = 0;
                  while (!CPU_ISSET(cpu, &allowed)) ++cpu;
                  CPU_SET(cpu, &one);
                  if (sched_setaffinity(0, sizeof one, &one) != 0) return 2;
                  if (usable_cpus() != 1) return 3;
                  if (num_threads() != 1) return 4;
                  return compute();
              }),
              0);
}

TEST(CpuQuota, Text) {
    EXPECT_EQ(parse_cpu_quota("max 100000\n"), std::nullopt);
    EXPECT_EQ(parse_cpu_quota("200000 100000\n"), 2);
    EXPECT_EQ(parse_cpu_quota("150000 100000"), 2);
    EXPECT_EQ(parse_cpu_quota("1000 100000"), 1);
    EXPECT_EQ(parse_cpu_quota("100001 100000"), 2);
    EXPECT_EQ(parse_cpu_quota("-1\n 100000\n"), std::nullopt);  // version 1: none
    EXPECT_EQ(parse_cpu_quota("50000\n 20000\n"), 3);
    for (const char* bad : {"", " ", "100000", "x 100000", "100000 0", "0 100000", "100000 -5", "1 2 3", "1e5 100000",
                            "99999999999999999999999 1"})
        EXPECT_EQ(parse_cpu_quota(bad), std::nullopt) << bad;
    EXPECT_EQ(parse_cpu_quota("9223372036854775807 1"), INT32_MAX);
}

// A hierarchy made by hand.
class Cgroup : public ::testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/tenon_cgroup_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        root_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(root_); }
    void write(const std::string& path, const std::string& text) {
        std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
        std::ofstream(root_ + path) << text;
    }
    std::string root_;
};

TEST_F(Cgroup, Version2TakesTheSmallestOfTheAncestors) {
    EXPECT_EQ(cgroup_cpu_quota("0::/a/b\n", root_), std::nullopt);
    write("/a/b/cpu.max", "max 100000\n");
    EXPECT_EQ(cgroup_cpu_quota("0::/a/b\n", root_), std::nullopt);
    write("/a/cpu.max", "250000 100000\n");
    EXPECT_EQ(cgroup_cpu_quota("0::/a/b\n", root_), 3);
    write("/a/b/cpu.max", "400000 100000\n");
    EXPECT_EQ(cgroup_cpu_quota("0::/a/b\n", root_), 3);
    EXPECT_EQ(cgroup_cpu_quota("0::/a\n", root_), 3);
    EXPECT_EQ(cgroup_cpu_quota("0::/\n", root_), std::nullopt);
    write("/cpu.max", "100000 100000\n");  // a container's own view
    EXPECT_EQ(cgroup_cpu_quota("0::/\n", root_), 1);
    EXPECT_EQ(cgroup_cpu_quota("0::/elsewhere/on/the/host", root_), 1);
}

TEST_F(Cgroup, Version1) {
    const std::string text = "12:cpuset:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n0::/docker/x\n";
    EXPECT_EQ(cgroup_cpu_quota(text, root_), std::nullopt);
    write("/cpu/cpu.cfs_quota_us", "-1\n");
    write("/cpu/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(cgroup_cpu_quota(text, root_), std::nullopt);
    write("/cpu/docker/x/cpu.cfs_quota_us", "350000\n");
    write("/cpu/docker/x/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(cgroup_cpu_quota(text, root_), 4);
    EXPECT_EQ(cgroup_cpu_quota("12:cpuset:/docker/x\n", root_), std::nullopt);
}

TEST_F(Cgroup, MemoryLimit) {
    EXPECT_EQ(cgroup_memory_limit("0::/a/b\n", root_), std::nullopt);
    write("/a/b/memory.max", "max\n");
    EXPECT_EQ(cgroup_memory_limit("0::/a/b\n", root_), std::nullopt);
    write("/a/memory.max", "1073741824\n");
    EXPECT_EQ(cgroup_memory_limit("0::/a/b\n", root_), 1 << 30);
    write("/memory/x/memory.limit_in_bytes", "4096\n");
    EXPECT_EQ(cgroup_memory_limit("9:cpu:/x\n4:memory:/x/y\n0::/a\n", root_), 4096);
    write("/a/memory.max", "-5\n");
    EXPECT_EQ(cgroup_memory_limit("0::/a\n", root_), std::nullopt);
    EXPECT_GT(available_memory(), 0);
}

TEST_F(Cgroup, NonsenseGivesNone) {
    write("/cpu.max", "100000 100000\n");
    for (const char* bad : {"", "\n\n", "0:", "::", "no colon"}) {
        const auto quota = cgroup_cpu_quota(bad, root_);
        EXPECT_TRUE(!quota || *quota == 1) << bad;
    }
    EXPECT_EQ(cgroup_cpu_quota("no colon", root_), std::nullopt);
}

}  // namespace
}  // namespace tenon
