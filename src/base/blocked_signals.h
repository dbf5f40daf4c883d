// Keeps signals in the application's threads.
#pragma once

#include <signal.h>

namespace tenon {

/// During its lifetime, no signal reaches this thread. A thread that is started meanwhile inherits that, and never
/// receives one.
class BlockedSignals {
  public:
    BlockedSignals() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    BlockedSignals(const BlockedSignals&) = delete;
    BlockedSignals& operator=(const BlockedSignals&) = delete;

  private:
    sigset_t before_;
};

}  // namespace tenon
