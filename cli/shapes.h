// Shapes of products as options give them.
#pragma once

#include <string>
#include <vector>

#include "bench/problem.h"

namespace cli {

/// The shapes in a list with commas, or in a file whose lines hold such lists and where '#' begins a comment. A text
/// names a file if it begins with '@', or if a file of that name exists. Empty for an empty text. Throws tenon::Error,
/// naming --shapes.
std::vector<bench::Shape> shapes_of(const std::string& text);

}  // namespace cli
