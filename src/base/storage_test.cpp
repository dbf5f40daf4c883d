// Storage: alignment, reuse, the cache's limit and statistics, failure, foreign memory, threads.
#include "base/storage.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tenon/device.h"
#include "tenon/error.h"

namespace tenon {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

class StorageTest : public ::testing::Test {
  protected:
    void SetUp() override {
        trim_memory();
        set_memory_cache_limit(64 * kMiB);
        reset_peak_memory();
        before_ = memory_statistics().in_use;
    }
    void TearDown() override {
        fail_allocation(0);
        EXPECT_EQ(memory_statistics().in_use, before_);
        trim_memory();
        EXPECT_EQ(memory_statistics().cached, 0);
    }
    std::int64_t in_use() const { return memory_statistics().in_use - before_; }
    std::int64_t before_ = 0;
};

TEST_F(StorageTest, WhatIsKeptCanBeGivenBack) {
    Storage::allocate(kMiB);
    EXPECT_GT(memory_statistics().cached, 0);
    trim_device_memory(Device::cpu());
    EXPECT_EQ(memory_statistics().cached, 0);
}

TEST_F(StorageTest, EverySizeIsAlignedAndUsable) {
    for (std::int64_t bytes = 0; bytes < 20 * kMiB; bytes += 1 + bytes / 7) {
        const auto s = Storage::allocate(bytes);
        EXPECT_EQ(s->bytes(), bytes);
        EXPECT_NE(s->data(), nullptr);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(s->data()) % 64, 0u);
        std::memset(s->data(), 1, static_cast<std::size_t>(bytes));
        EXPECT_GE(in_use(), bytes);
        EXPECT_LE(in_use(), std::max<std::int64_t>(bytes + bytes / 4, bytes + 63 + (bytes == 0)));
    }
}

TEST_F(StorageTest, BlocksInUseAreDisjoint) {
    std::vector<std::shared_ptr<Storage>> all;
    for (int round = 0; round < 3; ++round) {
        all.clear();
        for (int i = 0; i < 200; ++i) {
            all.push_back(Storage::allocate(64 + 40 * i));
            std::memset(all.back()->data(), i, static_cast<std::size_t>(all.back()->bytes()));
        }
        for (int i = 0; i < 200; ++i) {
            const auto* p = static_cast<const unsigned char*>(all[static_cast<std::size_t>(i)]->data());
            for (std::int64_t j = 0; j < 64 + 40 * i; ++j) ASSERT_EQ(p[j], i);
        }
    }
}

TEST_F(StorageTest, AFreedBlockIsUsedAgain) {
    auto s = Storage::allocate(kMiB);
    void* const p = s->data();
    s.reset();
    EXPECT_EQ(in_use(), 0);
    EXPECT_EQ(memory_statistics().cached, kMiB);
    s = Storage::allocate(kMiB - 1000);  // of the same size class
    EXPECT_EQ(s->data(), p);
    EXPECT_EQ(memory_statistics().cached, 0);
    EXPECT_EQ(memory_statistics().peak_in_use - before_, kMiB);
}

TEST_F(StorageTest, ReferencesShareOneBlock) {
    auto a = Storage::allocate(100);
    const auto b = a;
    a.reset();
    EXPECT_EQ(in_use(), 128);
    std::memset(b->data(), 0, 100);
}

TEST_F(StorageTest, TheCacheKeepsWithinItsLimitAndDropsWhatIsOldest) {
    set_memory_cache_limit(4 * kMiB);
    Storage::allocate(8 * kMiB);  // larger than the limit: never kept
    EXPECT_EQ(memory_statistics().cached, 0);
    Storage::allocate(kMiB);
    Storage::allocate(2 * kMiB);
    EXPECT_EQ(memory_statistics().cached, 3 * kMiB);
    void* const recent = Storage::allocate(kMiB)->data();
    Storage::allocate(3 * kMiB);  // the 2 MiB block was asked for longest ago
    EXPECT_EQ(memory_statistics().cached, 4 * kMiB);
    EXPECT_EQ(Storage::allocate(kMiB)->data(), recent);
    set_memory_cache_limit(kMiB);
    EXPECT_LE(memory_statistics().cached, kMiB);
    set_memory_cache_limit(0);
    EXPECT_EQ(memory_statistics().cached, 0);
    EXPECT_THROW(set_memory_cache_limit(-1), ValueError);
}

TEST_F(StorageTest, PeakIsTheMost) {
    { const auto a = Storage::allocate(2 * kMiB), b = Storage::allocate(kMiB); }
    Storage::allocate(kMiB);
    EXPECT_EQ(memory_statistics().peak_in_use - before_, 3 * kMiB);
    reset_peak_memory();
    EXPECT_EQ(memory_statistics().peak_in_use, memory_statistics().in_use);
}

TEST_F(StorageTest, RefusalsNameTheBytes) {
    EXPECT_THROW(Storage::allocate(-1), ValueError);
    for (const std::int64_t bytes : {std::int64_t{1} << 60, INT64_MAX}) {
        try {
            Storage::allocate(bytes);
            FAIL() << bytes;
        } catch (const MemoryError& e) {
            EXPECT_NE(std::string(e.what()).find(std::to_string(bytes)), std::string::npos);
        }
    }
    EXPECT_EQ(in_use(), 0);
}

TEST_F(StorageTest, AnInjectedFailureHitsTheNthAllocation) {
    fail_allocation(3);
    const auto a = Storage::allocate(10), b = Storage::allocate(10);
    EXPECT_THROW(Storage::allocate(10), MemoryError);
    EXPECT_NO_THROW(Storage::allocate(10));
    EXPECT_EQ(in_use(), 128);
}

TEST_F(StorageTest, AdoptedMemoryGoesBackToItsOwner) {
    int released = 0;
    char memory[10];
    {
        const auto s = Storage::adopt(memory, 10, [&] { ++released; });
        const auto other = s;
        EXPECT_EQ(s->data(), memory);
        EXPECT_EQ(s->bytes(), 10);
        EXPECT_EQ(in_use(), 0);
        EXPECT_EQ(released, 0);
    }
    EXPECT_EQ(released, 1);
    Storage::adopt(memory, 10, {});
    EXPECT_THROW(Storage::adopt(memory, -1, {}), ValueError);
}

TEST_F(StorageTest, ManyThreads) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([t] {
            std::vector<std::shared_ptr<Storage>> held(16);
            for (int i = 0; i < 2000; ++i) {
                auto& slot = held[static_cast<std::size_t>((i * 7 + t) % 16)];
                if (slot) {
                    const auto* p = static_cast<const unsigned char*>(slot->data());
                    ASSERT_EQ(p[0], t);
                    ASSERT_EQ(p[slot->bytes() - 1], t);
                }
                slot = Storage::allocate(1 + (i * 37) % 5000);
                std::memset(slot->data(), t, static_cast<std::size_t>(slot->bytes()));
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(in_use(), 0);
}

#if !defined(NDEBUG) || defined(__SANITIZE_ADDRESS__)
TEST_F(StorageTest, UninitialisedReadsAreNan) {
    for (int i = 0; i < 2; ++i) {  // fresh, then from the cache
        const auto s = Storage::allocate(4000);
        auto* p = static_cast<float*>(s->data());
        for (int k = 0; k < 1000; ++k) EXPECT_TRUE(std::isnan(p[k]));
        std::memset(p, 0, 4000);
    }
}
#endif

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they reserve more address space than the limit
// Where the system refuses, the cache is emptied and the request repeated: in a child whose address space ends 200 MiB
// on.
TEST_F(StorageTest, TheCacheGivesWayBeforeAnAllocationFails) {
    set_memory_cache_limit(1024 * kMiB);
    const pid_t child = fork();
    if (child == 0) {
        long pages = 0;
        if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
            if (std::fscanf(file, "%ld", &pages) != 1) _exit(1);
            std::fclose(file);
        }
        const auto limit = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE) + 200 * kMiB);
        const rlimit space = {limit, limit};
        if (setrlimit(RLIMIT_AS, &space) != 0) _exit(2);
        Storage::allocate(120 * kMiB);
        if (memory_statistics().cached < 120 * kMiB) _exit(3);
        const auto s = Storage::allocate(140 * kMiB);
        if (memory_statistics().cached != 0) _exit(4);
        try {
            Storage::allocate(300 * kMiB);
            _exit(5);
        } catch (const MemoryError&) {
            _exit(0);
        }
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}
#endif

}  // namespace
}  // namespace tenon
