// A forked child finds no lock held by a thread that it does not have.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "base/fork_testing.h"
#include "tenon/primitives.h"
#include "tenon/profile.h"
#include "tenon/transform.h"

namespace tenon {
namespace {

/// Children do `work` while three threads of the parent do.
void fork_meanwhile(const std::function<void()>& work) {
    std::atomic<bool> stop{false};
    std::atomic<int> running{3};
    // Detached: ThreadSanitizer takes a child's new thread for a joinable one of the parent whose stack it got.
    for (int t = 0; t < 3; ++t)
        std::thread([&] {
            while (!stop) work();
            --running;
        }).detach();
    int failed = 0;
    for (int i = 0; i < kForks && failed == 0; ++i)
        failed = in_child([&] {
            work();
            return 0;
        });
    stop = true;
    while (running > 0) std::this_thread::yield();
    EXPECT_EQ(failed, 0);
}

TEST(Fork, WhileOthersReadTheProfile) { fork_meanwhile(profile::entries); }

TEST(Fork, WhileOthersPullBackThroughOneCustomDerivative) {
    const auto doubled =
        custom_vjp([](auto args) { return args[0] * args[0]; },
                   [](auto args, const Tensor&, const Tensor& ct) { return std::vector<Tensor>{ct * args[0]}; });
    const auto f = [&](const Tree& x) { return Tree(doubled(std::vector<Tensor>{x.tensor()})); };
    const Tree one(Tensor(1.0f));
    const TreeFunction pullback = vjp(f, one).second;
    fork_meanwhile([&] { pullback(Tree(Tensor(1.0f))); });
}

}  // namespace
}  // namespace tenon
