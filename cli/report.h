// The report: one self-contained HTML page.
#pragma once

#include <string>
#include <vector>

#include "summary.h"
#include "train_options.h"

namespace cli {

/// Replaces the file at options.report. Throws tenon::FileError.
void write_report(const TrainOptions& options, const std::vector<Summary>& runs);

/// The page's text.
std::string report_html(const TrainOptions& options, const std::vector<Summary>& runs);

}  // namespace cli
