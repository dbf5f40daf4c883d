// Shapes of products as options give them.
#pragma once

#include <string>
#include <vector>

#include "bench/problem.h"

namespace cli {

/// A list with commas; or of a file, where a line holds such a list and '#' begins a comment: what follows '@', or the
/// text itself where it names a file. Empty for an empty text. Throws tenon::Error, naming --shapes.
std::vector<bench::Shape> shapes_of(const std::string& text);

}  // namespace cli
