// Ctrl-C and SIGTERM ask for an orderly end: training finishes its step and writes a checkpoint. A second signal ends
// the process at once.
#pragma once

namespace cli {

/// While it lives, a signal only sets the flag of interrupted(); before and after, it ends the process.
class Interruptible {
  public:
    Interruptible();
    ~Interruptible();
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;
};

/// Whether a signal has come.
bool interrupted();

}  // namespace cli
