#include "interrupt.h"

#include <csignal>

namespace cli {
namespace {

volatile std::sig_atomic_t asked = 0;

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
    set_handler([](int) { asked = 1; });
}

Interruptible::~Interruptible() { set_handler(SIG_DFL); }

bool interrupted() { return asked != 0; }

}  // namespace cli
