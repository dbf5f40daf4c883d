#include "text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace cli {
namespace {

template <class... T>
std::string print(const char* format, T... values) {
    std::array<char, 64> buffer{};
    const int n = std::snprintf(buffer.data(), buffer.size(), format, values...);
    return {buffer.data(), static_cast<std::size_t>(n)};
}

}  // namespace

std::string thousands(std::int64_t n) {
    std::string digits = std::to_string(n);
    const std::size_t first = n < 0 ? 1 : 0;
    for (std::size_t i = digits.size(); i > first + 3;) digits.insert(i -= 3, ",");
    return digits;
}

std::string fixed(double x, int digits) {
    if (!std::isfinite(x)) return "-";
    return std::abs(x) < 1e15 ? print("%.*f", digits, x) : print("%.3g", x);
}

std::string percent(double fraction) { return std::isfinite(fraction) ? fixed(100 * fraction, 2) + " %" : "-"; }

std::string shortest(double x) {
    if (std::isnan(x)) return "nan";  // its sign means nothing
    std::array<char, 32> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), x).ptr;
    return {buffer.data(), end};
}

std::string duration(double seconds) {
    if (!std::isfinite(seconds) || seconds > 1e9) return "-";
    const auto s = static_cast<long>(seconds + 0.5);
    return s < 3600 ? print("%ld:%02ld", s / 60, s % 60) : print("%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

std::string si(double x, const char* unit) {
    constexpr std::array<const char*, 6> kPrefixes = {"", "k", "M", "G", "T", "P"};
    std::size_t power = 0;
    while (x >= 1000 && power + 1 < kPrefixes.size()) x /= 1000, ++power;
    return print("%.3g %s%s", x, kPrefixes[power], unit);
}

std::string escape_html(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '"')
            out += "&quot;";
        else
            out += c;
    }
    return out;
}

std::string quote_json(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            (out += '\\') += c;
        else if (static_cast<unsigned char>(c) < 0x20)
            out += print("\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
        else
            out += c;
    }
    return out + '"';
}

std::string quote_shell(std::string_view text) {
    constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) return std::string(text);
    std::string out = "'";
    for (const char c : text) c == '\'' ? out += "'\\''" : out += c;
    return out + "'";
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0;;) {
        const std::size_t end = text.find(separator, begin);
        parts.emplace_back(text.substr(begin, end - begin));
        if (end == std::string_view::npos) return parts;
        begin = end + 1;
    }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
    std::string out;
    for (const std::string& part : parts) (out.empty() ? out : out += separator) += part;
    return out;
}

}  // namespace cli
