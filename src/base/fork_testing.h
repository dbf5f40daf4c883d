// Children of a test, and how many of them. Included by one file of a test program.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#if defined(__SANITIZE_THREAD__)
// Its own fork takes long.
constexpr int kForks = 50;
// By default it ends a forked child that starts a thread, which is what these tests are about, and sleeps a second at
// each exit of a process.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0:atexit_sleep_ms=0"; }
#else
constexpr int kForks = 1000;
#endif

namespace tenon {

constexpr int kHung = -1;
constexpr int kSignalled = -2;

// The exit status of a child; a child that does not end within a minute is killed.
inline int wait_for(pid_t child) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    int status = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (std::chrono::steady_clock::now() > end) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return kHung;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled;
}

template <class F>
int in_child(F child) {
    const pid_t pid = fork();
    if (pid == 0) _exit(child());
    return wait_for(pid);
}

}  // namespace tenon
