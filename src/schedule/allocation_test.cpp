// What a call costs beside its kernels, counted: allocations. Sanitizers bring their own operator new.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "schedule/compile_testing.h"
#include "tenon/compile.h"
#include "tenon/functions.h"
#include "tenon/threads.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

thread_local std::int64_t allocations = 0;

void* counted(std::size_t n, std::size_t alignment) noexcept {
    ++allocations;
    return std::aligned_alloc(alignment, (n + alignment) / alignment * alignment);
}

constexpr std::size_t kUsual = alignof(std::max_align_t);

}  // namespace

void* operator new(std::size_t n) {
    if (void* p = counted(n, kUsual)) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t n, std::align_val_t a) {
    if (void* p = counted(n, static_cast<std::size_t>(a))) return p;
    throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace tenon::schedule {
namespace {

using testing::values;

/// Allocations of one call among many.
template <class F>
std::int64_t allocated(const F& f) {
    constexpr int kCalls = 20;
    for (int i = 0; i < kCalls; ++i) f();
    const std::int64_t before = allocations;
    for (int i = 0; i < kCalls; ++i) f();
    return (allocations - before) / kCalls;
}

TEST(Allocation, ACallAllocatesItsResultAndFewLists) {
    const int threads = num_threads();
    set_num_threads(1);
    const Tensor x = values({4, 64}), w = values({64}, 2), b = values({64}, 3);
    const auto compiled =
        tenon::compile([](const Tensor& v, const Tensor& by, const Tensor& to) { return layer_norm(v, by, to); });
    // The result's storage and value; the tree of arguments, its leaves and those of the result; the loop's lists.
    EXPECT_LE(allocated([&] { compiled(x, w, b); }), 14);
    // A node allocates nothing.
    EXPECT_LE(allocated([&] { layer_norm(x, w, b).eval(); }), 14);
    set_num_threads(threads);
}

}  // namespace
}  // namespace tenon::schedule

#endif
