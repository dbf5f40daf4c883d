#include "progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "text.h"

namespace cli {
namespace {

std::size_t terminal_width() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string bar(double fraction, std::size_t width) {
    const auto full = static_cast<std::size_t>(fraction * static_cast<double>(width));
    std::string out(full, '=');
    if (full < width) out += '>';
    out.resize(width, ' ');
    return "[" + out + "]";
}

}  // namespace

Progress::Progress(std::string label, std::int64_t total, std::int64_t done)
    : label_(std::move(label)), total_(total), done_before_(done), terminal_(isatty(STDERR_FILENO) == 1) {}

void Progress::update(const std::string& stage, std::int64_t done, double loss) {
    const auto now = Clock::now();
    if (!terminal_ || now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = seconds > 0 ? static_cast<double>(done - done_before_) / seconds : 0;
    const double left = rate > 0 ? static_cast<double>(total_ - done) / rate : -1;
    const double fraction = std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0);
    const std::string before = label_ + "  " + stage + " ";
    const std::string after = " " + fixed(100 * fraction, 0) + " %  " + thousands(static_cast<std::int64_t>(rate)) +
                              " images/s  loss " + fixed(loss, 4) + "  " +
                              (left >= 0 ? duration(left) + " left" : std::string());
    // The last column stays free: writing there would wrap the line.
    const std::size_t width = terminal_width() - 1, used = before.size() + after.size() + 2;
    std::string line =
        before + (width > used + 4 ? bar(fraction, std::min<std::size_t>(width - used, 30)) : "") + after;
    line.resize(std::min(line.size(), width));
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    std::fflush(stderr);
    visible_ = true;
}

void Progress::clear() {
    if (!visible_) return;
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
    visible_ = false;
}

}  // namespace cli
