// What a run found, as pages.
#pragma once

#include <string>
#include <vector>

#include "bench/run.h"

namespace bench {

struct Results {
    std::string suite, command;
    bool cold = false;
    /// Name and version of all libraries, Tenon's first.
    std::vector<std::pair<std::string, std::string>> libraries;
    /// One a thread count.
    std::vector<tenon::Ceilings> ceilings;
    std::vector<Row> rows;
};

/// Tables: a row a problem, a column a library.
std::string report_html(const Results& results);
/// A chart a thread count: the rates of all products over their operations a byte, under the ceilings.
std::string roofline_html(const Results& results);

/// The card that says what was measured, where and how; both pages end with it.
std::string about(const Results& results);
/// The place of a library in the list, which decides its colour.
std::size_t index_of(const Results& results, const std::string& library);

}  // namespace bench
