// Tables on a terminal: columns of fixed width, so that rows can be printed as they come.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace cli {

struct Column {
    std::string title;
    /// The width of the widest cell expected. The title has room in any case.
    std::size_t width = 0;
    bool left = false;
};

/// One line, without its end: cells padded to their columns, two spaces between.
std::string row(const std::vector<Column>& columns, const std::vector<std::string>& cells);
/// The line with the titles.
std::string header(const std::vector<Column>& columns);

}  // namespace cli
