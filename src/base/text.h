// Builds messages: text(a, b, c) concatenates anything that can be streamed.
#pragma once

#include <sstream>
#include <string>

namespace tenon {

template <class... T>
std::string text(const T&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return std::move(out).str();
}

}  // namespace tenon
