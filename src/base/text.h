// Builds texts: text(a, b, c) concatenates anything that can be streamed.
#pragma once

#include <locale>
#include <sstream>
#include <string>

namespace tenon {

/// A stream without the program's global locale: what it writes goes into files and sources too, where 1000 is no
/// 1,000.
inline std::ostringstream classic_stream() {
    std::ostringstream out;
    out.imbue(std::locale::classic());
    return out;
}

template <class... T>
std::string text(const T&... parts) {
    std::ostringstream out = classic_stream();
    (out << ... << parts);
    return std::move(out).str();
}

}  // namespace tenon
