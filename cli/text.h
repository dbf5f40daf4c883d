// Numbers as people read them, and text as HTML and JSON want it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

/// 1234567 -> "1,234,567".
std::string thousands(std::int64_t n);
/// `digits` places behind the point; "-" where x is not finite.
std::string fixed(double x, int digits);
/// 0.8925 -> "89.25 %".
std::string percent(double fraction);
/// The shortest decimal text that reads back as the same number; JSON's and the checkpoint's.
std::string shortest(double x);
/// Seconds as "0:42", "12:05" or "1:02:03".
std::string duration(double seconds);
/// Rates and sizes in powers of 1000: 1.234e9, "FLOP/s" -> "1.23 GFLOP/s".
std::string si(double x, const char* unit);

std::string escape_html(std::string_view text);
/// With its quotation marks.
std::string quote_json(std::string_view text);
/// As a POSIX shell reads it back as one word.
std::string quote_shell(std::string_view text);

std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);

}  // namespace cli
