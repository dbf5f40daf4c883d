// Ctrl-C and SIGTERM ask for a good end: training finishes its step and writes a checkpoint. A second one ends the
// process at once.
#pragma once

namespace cli {

/// While it lives, the signals ask; before and after, they end the process.
class Interruptible {
  public:
    Interruptible();
    ~Interruptible();
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;
};

/// Whether one has come.
bool interrupted();

}  // namespace cli
