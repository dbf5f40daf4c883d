// The results of a run as HTML pages.
#pragma once

#include <string>
#include <vector>

#include "bench/run.h"

namespace bench {

struct Results {
    std::string suite, command;
    bool cold = false;
    /// Names and versions of all libraries, Tenon's first.
    std::vector<std::pair<std::string, std::string>> libraries;
    /// One for each number of threads.
    std::vector<tenon::Ceilings> ceilings;
    std::vector<Row> rows;
};

/// Tables with a row for each problem and a column for each library.
std::string report_html(const Results& results);
/// A roofline for each number of threads: the rates of all products over their operations per byte.
std::string roofline_html(const Results& results);

/// The card that says what was measured, where and how; both pages end with it.
std::string about(const Results& results);
/// The place of a library in the list, which decides its colour.
std::size_t index_of(const Results& results, const std::string& library);

}  // namespace bench
