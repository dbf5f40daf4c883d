// Numbers as text for people, and text with the escapes of HTML, JSON and the shell.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

/// 1234567 -> "1,234,567".
std::string thousands(std::int64_t n);
/// With `digits` digits after the point; "-" if x is not finite.
std::string fixed(double x, int digits);
/// 0.8925 -> "89.25 %".
std::string percent(double fraction);
/// The shortest decimal text that reads back as the same number; JSON's and the checkpoint's.
std::string shortest(double x);
/// A time in seconds as "0:42", "12:05" or "1:02:03".
std::string duration(double seconds);
/// Rates and sizes in powers of 1000: 1.234e9, "FLOP/s" -> "1.23 GFLOP/s".
std::string si(double x, const char* unit);

std::string escape_html(std::string_view text);
/// A JSON string with its quotation marks.
std::string quote_json(std::string_view text);
/// Quoted so that a POSIX shell reads it as one word.
std::string quote_shell(std::string_view text);

std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);

}  // namespace cli
