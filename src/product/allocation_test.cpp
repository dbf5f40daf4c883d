// Small products allocate nothing once a thread has its working space, make no system call, and so wake no thread.
// Sanitizers bring their own operator new and make calls of their own.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <thread>

#include "product/product_testing.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include "base/allocations_testing.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::matrix;

TEST(Allocation, SmallProductsAllocateNothing) {
    const testing::WithSetting with(testing::settings().back());
    const DType types[][3] = {{DType::float32, DType::float32, DType::float32},
                              {DType::float64, DType::float64, DType::float64},
                              {DType::bfloat16, DType::bfloat16, DType::float32},
                              {DType::uint8, DType::int8, DType::int32}};
    for (const auto& [a_type, b_type, c_type] : types)
        for (const std::int64_t n : {1, 2, 7, 16, 33, 60}) {
            Array a(a_type, {2, n, n}), b(b_type, {2, n, n}), c(c_type, {2, n, n});
            a.randomize(1), b.randomize(2);
            const PackedMatrix packed = pack(matrix(b));
            for (const std::int64_t batch : {1, 2}) {
                const auto call = [&] {
                    gemm(matrix(a), matrix(b), matrix(c), {.batch = batch});
                    gemm(matrix(a), packed, matrix(c), {.batch = batch});
                };
                // Alone first: of two threads either may run a piece, and wants working space for it.
                for (const int threads : {1, 2}) set_num_threads(threads), call();
                const std::int64_t before = allocations;
                call();
                EXPECT_EQ(allocations - before, 0) << name(a_type) << " " << n << " batch " << batch;
            }
        }
    const std::int64_t before = allocations;
    ::operator delete(::operator new(1));  // a call: a new-expression may be left out
    EXPECT_EQ(allocations - before, 1) << "allocations are not seen";
}

/// The kernel ends this process at its next system call on this thread, but for its exit. False where it cannot.
bool forbid_system_calls() {
    sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
    const sock_fprog program{std::size(code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum class Outcome { quiet, called, unsupported };

/// Whether a call makes system calls once its thread has its working space and the workers sleep.
template <class F>
Outcome system_calls_of(const F& call) {
    constexpr int kUnsupported = 7;
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        for (int i = 0; i < 4; ++i) call();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        if (!forbid_system_calls()) _exit(kUnsupported);
        call();
        syscall(SYS_exit_group, 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == kUnsupported) return Outcome::unsupported;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? Outcome::quiet : Outcome::called;
}

TEST(Allocation, SmallProductsMakeNoSystemCall) {
    const testing::WithSetting with(testing::settings().back(), 2);
    const Outcome seen = system_calls_of([] { (void)getppid(); });
    if (seen == Outcome::unsupported) GTEST_SKIP() << "the system does not filter calls";
    ASSERT_EQ(seen, Outcome::called);
    const DType types[][3] = {{DType::float32, DType::float32, DType::float32},
                              {DType::float64, DType::float64, DType::float64},
                              {DType::float16, DType::float16, DType::float16},
                              {DType::bfloat16, DType::bfloat16, DType::bfloat16},
                              {DType::uint8, DType::int8, DType::int32}};
    for (const auto& [a_type, b_type, c_type] : types)
        for (const std::int64_t n : {1, 7, 33, 64}) {
            Array a(a_type, {1, n, n}), b(b_type, {1, n, n}), c(c_type, {1, n, n});
            a.randomize(1), b.randomize(2);
            const PackedMatrix packed = pack(matrix(b));
            const PreparedGemm prepared = prepare(matrix(a), matrix(b), matrix(c));
            const Outcome outcome = system_calls_of([&] {
                gemm(matrix(a), matrix(b), matrix(c));
                gemm(matrix(a), packed, matrix(c));
                prepared(matrix(a).data, matrix(b).data, matrix(c).data);
            });
            EXPECT_EQ(outcome, Outcome::quiet) << name(a_type) << " " << n;
        }
}

}  // namespace
}  // namespace tenon::product

#endif
