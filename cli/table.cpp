#include "table.h"

#include <algorithm>

namespace cli {

std::string row(const std::vector<Column>& columns, const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
        const std::size_t width = std::max(columns[i].width, columns[i].title.size());
        const std::string padding(width - std::min(width, cells[i].size()), ' ');
        if (i > 0) line += "  ";
        line += columns[i].left ? cells[i] + padding : padding + cells[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
}

std::string header(const std::vector<Column>& columns) {
    std::vector<std::string> titles;
    for (const Column& column : columns) titles.push_back(column.title);
    return row(columns, titles);
}

}  // namespace cli
