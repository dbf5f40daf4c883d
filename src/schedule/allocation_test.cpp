// What a call costs beside its kernels, counted: allocations. Sanitizers bring their own operator new.
#include <gtest/gtest.h>

#include "schedule/compile_testing.h"
#include "tenon/compile.h"
#include "tenon/functions.h"
#include "tenon/threads.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include "base/allocations_testing.h"

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
