#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace cli {
namespace {

// Set by the thread that receives the signal.
std::atomic<bool> asked{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a handler may only touch atomics without locks");

void set_handler(void (*handler)(int)) {
    struct sigaction action = {};
    action.sa_handler = handler;
    // The second signal finds the default; system calls of other threads go on.
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

Interruptible::Interruptible() {
    set_handler([](int) { asked = true; });
}

Interruptible::~Interruptible() { set_handler(SIG_DFL); }

bool interrupted() { return asked; }

}  // namespace cli
