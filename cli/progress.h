// The progress bar: one line on stderr, redrawn in place, where stderr is a terminal; else nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cli {

class Progress {
  public:
    /// `total` images in all, of which `done` were seen before this process began.
    Progress(std::string label, std::int64_t total, std::int64_t done);
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// So far; draws at most ten times a second.
    void update(const std::string& stage, std::int64_t done, double loss);
    /// Takes the line away, for a row to be printed.
    void clear();

  private:
    using Clock = std::chrono::steady_clock;

    std::string label_;
    std::int64_t total_, done_before_;
    Clock::time_point start_ = Clock::now(), drawn_{};
    bool terminal_, visible_ = false;
};

}  // namespace cli
