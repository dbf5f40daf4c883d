// Self-contained HTML pages in one style.
#pragma once

#include <cstddef>
#include <string>

namespace cli {

/// A page with the title, and `body` below it.
std::string page(const std::string& title, const std::string& body);

/// The colour of series i of a chart or table, in CSS.
std::string colour(std::size_t i);

}  // namespace cli
