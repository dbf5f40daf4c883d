// HTML pages that need nothing beside themselves, all in one style.
#pragma once

#include <cstddef>
#include <string>

namespace cli {

/// `body` stands below the title.
std::string page(const std::string& title, const std::string& body);

/// The colour of series i of a chart or table, in CSS.
std::string colour(std::size_t i);

}  // namespace cli
