// Rows as text and as JSON.
#pragma once

#include <string>
#include <vector>

#include "bench/run.h"

namespace bench {

std::string table_header();
/// One line for each library; the rows are those of one problem.
std::string table_lines(const std::vector<Row>& rows);
/// One object.
std::string json_object(const Row& row);
/// "1.32 ms".
std::string time_text(double seconds);
/// The machine and its ceilings, a line each.
std::string ceilings_text(const tenon::Ceilings& ceilings);

}  // namespace bench
