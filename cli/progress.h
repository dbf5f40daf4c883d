// The progress bar: one line on stderr, redrawn in place. If stderr is not a terminal nothing is printed.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cli {

class Progress {
  public:
    /// `total` is the number of images in the whole run, of which `done` were processed before this process began.
    Progress(std::string label, std::int64_t total, std::int64_t done);
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// Sets the number of images so far. Draws at most ten times a second.
    void update(const std::string& stage, std::int64_t done, double loss);
    /// Erases the line, so that a row can be printed.
    void clear();

  private:
    using Clock = std::chrono::steady_clock;

    std::string label_;
    std::int64_t total_, done_before_;
    Clock::time_point start_ = Clock::now(), drawn_{};
    bool terminal_, visible_ = false;
};

}  // namespace cli
