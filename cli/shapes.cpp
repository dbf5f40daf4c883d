#include "shapes.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "tenon/error.h"
#include "text.h"

namespace cli {

std::vector<bench::Shape> shapes_of(const std::string& text) {
    std::vector<bench::Shape> shapes;
    const auto add = [&](const std::string& list) {
        for (const std::string& item : split(list, ',')) shapes.push_back(bench::parse_shape(item));
    };
    if (text.empty()) return shapes;
    std::error_code error;
    // No shape has a dot or a slash.
    const bool marked = text.front() == '@' || text.find_first_of("./") != std::string::npos;
    if (!marked && !std::filesystem::is_regular_file(text, error)) {
        add(text);
        return shapes;
    }
    const std::string path = text.substr(text.front() == '@' ? 1 : 0);
    std::ifstream file(path);
    if (!file || std::filesystem::is_directory(path, error))
        throw tenon::FileError("--shapes " + text + ": cannot be read");
    for (std::string line; std::getline(file, line);) {
        line = line.substr(0, line.find('#'));
        line.erase(std::remove_if(line.begin(), line.end(), [](unsigned char c) { return std::isspace(c); }),
                   line.end());
        if (!line.empty()) add(line);
    }
    if (shapes.empty()) throw tenon::ValueError("--shapes " + text + ": holds no shape");
    return shapes;
}

}  // namespace cli
